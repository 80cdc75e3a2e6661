"""Signals to stop: the training loop saves before it stops, and all processes stop at the same step."""

import contextlib
import os
import signal
from types import FrameType, TracebackType

from alexnet_jax.parallel import peers
from alexnet_jax.runtime import stopping


class Signals:
    """A record of a signal to stop, on which a loop can act. A second one ends the process at once.

    With several processes, a signal to one of them stops all of them at the same step (`stopping_step`).
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._handled = stopping.handled(self._note)
        self._stopping_step = peers.stopping_step()

    def __enter__(self) -> "Signals":
        if self._stopping_step is not None:
            self._stopping_step.begin()
        self._handled.__enter__()
        return self

    def stop_after(self, step: int) -> int | None:
        """Return the signal that asks the run to stop after this step; None to continue.

        All processes stop at the same step. Call this once before the first step, and after every step.
        """
        if self._stopping_step is None:
            return self._received
        return self._stopping_step.stop_after(step, self._received)

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
