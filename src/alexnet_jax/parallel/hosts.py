"""Several processes as one run: how they meet, what they agree on, how they stop.

Where ``JAX_COORDINATOR_ADDRESS``, ``JAX_NUM_PROCESSES`` and ``JAX_PROCESS_ID`` are set (``launch/local``
sets them), or under SLURM and Open MPI, the processes join through ``jax.distributed``. With one process
everything here is a matter of course and costs nothing.
"""

import contextlib
import json
import os
import secrets
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils

from alexnet_jax.errors import UserError
from alexnet_jax.parallel.rendezvous import TIMEOUT, meet
from alexnet_jax.runtime import jax_compat
from alexnet_jax.runtime.devices import all_devices

_VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
_HEARTBEAT = 30  # seconds after which a process that says nothing counts as dead


def start() -> None:
    """Join the other processes, if there are any, and initialize JAX's devices.

    Raises:
      UserError: the environment is incomplete, a process did not connect in time, or JAX cannot use its
        devices.
    """
    try:
        timeout = int(os.environ.get(TIMEOUT, "300"))
    except ValueError:
        raise UserError(f"{TIMEOUT}={os.environ[TIMEOUT]} is no number of seconds") from None
    address, *numbers = (os.environ.get(name) for name in _VARIABLES)
    if address is not None or numbers != [None, None]:
        try:
            count, number = (int(n or "") for n in numbers)
            host, _, port = (address or "").rpartition(":")
            if not (host and 0 <= number < count and 0 < int(port) < 2**16):
                raise ValueError
        except ValueError:
            found = ", ".join(f"{name}={os.environ.get(name)}" for name in _VARIABLES)
            raise UserError(
                f"several processes need all of HOST:PORT, a count, and a number from 0 to count - 1; {found}"
            ) from None
        meet(host, int(port), count, number, timeout)
        jax.distributed.initialize(
            address, count, number, initialization_timeout=timeout, heartbeat_timeout_seconds=_HEARTBEAT
        )
    elif any(int(os.environ.get(name, "1")) > 1 for name in ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")):
        jax.distributed.initialize(initialization_timeout=timeout, heartbeat_timeout_seconds=_HEARTBEAT)
    if jax.distributed.is_initialized() and threading.current_thread() is threading.main_thread():
        # JAX's preemption service would swallow every SIGTERM from here on: `Signals` passes it on instead.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    all_devices()


def is_first() -> bool:
    """Whether this is the process that prints, and writes what is written once."""
    return jax.process_index() == 0


def say(line: str) -> None:
    """A line for the user, from the first process alone.

    A reader that is gone, as ``tee`` is after Ctrl-C, is not to cost a run what it would save.
    """
    if is_first():
        try:
            print(line, flush=True)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def same(settings: dict[str, Any]) -> None:
    """Waits for the others, and makes sure that all have the same settings.

    Raises:
      UserError: on every process, naming the first one that differs.
    """
    if jax.process_count() == 1:
        return
    if not jax.distributed.is_initialized():
        raise UserError(
            f"this is one of {jax.process_count()} processes: set {', '.join(_VARIABLES)} for each"
        )
    mine = np.frombuffer(json.dumps(settings, sort_keys=True, default=str).encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.int32(len(mine)))
    padded = np.pad(mine, (0, int(sizes.max()) - len(mine)))
    everybody = multihost_utils.process_allgather(padded)
    first, *others = (json.loads(row[:size].tobytes()) for row, size in zip(everybody, sizes, strict=True))
    for number, other in enumerate(others, start=1):
        for key in sorted({*first, *other}):
            if first.get(key) != other.get(key):
                raise UserError(
                    f"process {number} has {key} = {other.get(key)},"
                    f" process 0 has {first.get(key)}: start all of them alike"
                )


def all_true(mine: bool) -> bool:
    """Whether it is so on every process."""
    return mine if jax.process_count() == 1 else bool(multihost_utils.process_allgather(mine).all())


def total(mine: np.ndarray) -> np.ndarray:
    """The sum over the processes, in float64."""
    if jax.process_count() == 1:
        return mine
    everybody = multihost_utils.process_allgather(mine.view(np.uint32))  # JAX would round float64
    return everybody.view(np.float64).sum(axis=0)


def check_shared(directory: epath.Path) -> None:
    """Makes sure that all processes see one directory, as what they write together needs.

    Raises:
      UserError: they don't.
    """
    if jax.process_count() == 1:
        return
    mark = directory / f".seen-{multihost_utils.process_allgather(np.uint32(secrets.randbits(32)))[0]}"
    if is_first():
        mark.touch()
    all_true(True)  # once it is there
    seen = mark.exists()
    if not all_true(seen):
        raise UserError(f"{directory} is not the same directory for all processes: take one that they share")
    if is_first():
        mark.unlink()


class Signals:
    """Notes SIGTERM and Ctrl-C, for a loop to act on; a second one ends the process at once.

    With several processes a signal to any one of them stops all, at the same step, which JAX's
    preemption service finds.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._before: dict[int, Any] = {}
        self._stop_all = jax_compat.preemption_request() if jax.process_count() > 1 else None

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():  # Python lets no other one hear signals
            for signum in (signal.SIGTERM, signal.SIGINT):
                self._before[signum] = signal.signal(signum, self._note)
        return self

    def stop_after(self, step: int) -> int | None:
        """The signal that asks to stop after this step, on all processes alike; None to go on.

        To be called after every step, and once before the first one.
        """
        if jax.process_count() > 1:
            reached = multihost_utils.reached_preemption_sync_point(step)
            return (self._received or signal.SIGTERM) if reached else None
        return self._received

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self._received = signum
        signal.signal(signum, signal.SIG_DFL)
        # Not print: the signal may have come in the middle of one.
        with contextlib.suppress(OSError):  # nobody listens any more
            os.write(2, f"{signal.Signals(signum).name}: saving; again to stop at once\n".encode())
        if self._stop_all is not None:
            self._stop_all()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
