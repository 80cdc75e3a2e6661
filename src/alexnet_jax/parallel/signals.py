"""Signals to stop: the training loop saves before it stops, and all processes stop at the same step."""

import contextlib
import os
import signal
from types import FrameType, TracebackType

import jax
import numpy as np
from jax.experimental import multihost_utils

from alexnet_jax.runtime import jax_compat, stopping


class Signals:
    """A record of a signal to stop, on which a loop can act. A second one ends the process at once.

    With several processes, a signal to one of them stops all of them at the same step, which JAX's preemption
    service chooses.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._handled = stopping.handled(self._note)
        self._request = jax_compat.preemption_request() if jax.process_count() > 1 else None
        self._requested = False

    def __enter__(self) -> "Signals":
        self._handled.__enter__()
        return self

    def stop_after(self, step: int) -> int | None:
        """Return the signal that asks the run to stop after this step; None to continue.

        All processes stop at the same step. Call this once before the first step, and after every step.
        """
        if self._request is not None:
            if self._received is not None and not self._requested:
                self._requested = True
                self._request()
            if not multihost_utils.reached_preemption_sync_point(step):
                return None
            received = multihost_utils.process_allgather(np.int32(self._received or 0))
            return int(received.max()) or signal.SIGTERM
        return self._received

    def stop(self, signum: int = signal.SIGTERM) -> None:
        """Ask all processes to stop, as this signal does. The next `stop_after` passes it on."""
        self._received = signum

    def _note(self, signum: int, frame: FrameType | None) -> None:
        signal.signal(signum, signal.SIG_DFL)
        # The signal may have interrupted a `print` or a request of JAX, so this must do neither. A closed
        # stream is no error here.
        with contextlib.suppress(OSError):
            os.write(2, f"{signal.Signals(signum).name}: saving; a second signal stops at once\n".encode())
        self.stop(signum)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handled.__exit__(kind, error, trace)
