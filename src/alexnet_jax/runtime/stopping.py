"""The signals that ask a run to stop."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
"""The signals that ask a run to stop: from a scheduler, Ctrl-C, a closed terminal, SLURM's ``--signal``."""


@contextlib.contextmanager
def handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Call a function for each signal that asks a run to stop, in the ``with`` block.

    If SIGHUP is ignored, as under ``nohup``, it stays ignored. In any thread but the main one this does
    nothing, because Python calls handlers in the main thread only.
    """
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for signum in STOPPING:
            if signum != signal.SIGHUP or signal.getsignal(signum) is not signal.SIG_IGN:
                before[signum] = signal.signal(signum, handler)
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
