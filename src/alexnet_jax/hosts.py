"""Several processes as one run: how they meet, what they agree on, how they stop.

Where ``JAX_COORDINATOR_ADDRESS``, ``JAX_NUM_PROCESSES`` and ``JAX_PROCESS_ID`` are set (``launch/local``
sets them), or under SLURM and Open MPI, the processes join through ``jax.distributed``. With one process
everything here is a matter of course and costs nothing.
"""

import json
import os
import signal
import socket
import threading
import time
from types import FrameType, TracebackType
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from alexnet_jax.errors import UserError

_VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
_TIMEOUT = "ALEXNET_JAX_START_TIMEOUT"  # seconds to wait for the others at the start
_HEARTBEAT = 30  # seconds after which a process that says nothing counts as dead


def start() -> None:
    """Joins the other processes, if there are any. Comes before any look at the devices.

    Raises:
      UserError: the environment says too little, or not everybody came in time.
    """
    timeout = int(os.environ.get(_TIMEOUT, "300"))
    address, *numbers = (os.environ.get(name) for name in _VARIABLES)
    if address is not None or numbers != [None, None]:
        try:
            count, number = (int(n or "") for n in numbers)
            host, port = (address or "").rsplit(":", 1)
            if not 0 <= number < count or not int(port):
                raise ValueError
        except ValueError:
            found = ", ".join(f"{name}={os.environ.get(name)}" for name in _VARIABLES)
            raise UserError(
                f"several processes need all of HOST:PORT, a count and a number; {found}"
            ) from None
        _meet(host, int(port), count, number, timeout)
        jax.distributed.initialize(
            address, count, number, initialization_timeout=timeout, heartbeat_timeout_seconds=_HEARTBEAT
        )
    elif any(int(os.environ.get(name, "1")) > 1 for name in ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")):
        jax.distributed.initialize(initialization_timeout=timeout, heartbeat_timeout_seconds=_HEARTBEAT)


def is_first() -> bool:
    """Whether this is the process that prints, and writes what is written once."""
    return jax.process_index() == 0


def say(line: str) -> None:
    """A line for the user, from the first process alone."""
    if is_first():
        print(line, flush=True)


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
                    f"process {number} was started with {key} = {other.get(key)},"
                    f" process 0 with {first.get(key)}: start all of them alike"
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


class Signals:
    """Notes SIGTERM and Ctrl-C, for a loop to act on; a second one ends the process at once.

    With several processes a signal to any one of them stops all, at the same step: JAX's preemption
    service hears SIGTERM by itself, and Ctrl-C is passed on to it.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():  # Python lets no other one hear signals
            # A handler of ours for SIGTERM would put the service's out of work.
            mine = (signal.SIGTERM, signal.SIGINT) if jax.process_count() == 1 else (signal.SIGINT,)
            for signum in mine:
                self._before[signum] = signal.signal(signum, self._note)
        return self

    def stop_after(self, step: int) -> int | None:
        """The signal that asks to stop after this step, on all processes alike; None to go on.

        To be called after every step, and once before the first one.
        """
        if jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(step):
            return self._received or signal.SIGTERM
        return self._received if jax.process_count() == 1 else None

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self._received = signum
        signal.signal(signum, signal.SIG_DFL)
        if jax.process_count() > 1:
            os.kill(os.getpid(), signal.SIGTERM)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)


def _meet(host: str, port: int, count: int, number: int, timeout: int) -> None:
    """Makes sure that everybody is there, as JAX ends the process without saying who is missing.

    The first process listens where the coordinator will; the others tell it their number, and it
    tells them that all have come, or who has not.
    """
    ends = time.monotonic() + timeout
    try:
        answer = _gather(port, count, ends, timeout) if number == 0 else _report(host, port, number, ends)
    except socket.gaierror as error:
        raise UserError(f"the coordinator's host {host} is not known: {error.strerror}") from error
    except OSError as error:
        what = f"can't listen on port {port}" if number == 0 else f"no process 0 at {host}:{port}"
        raise UserError(
            f"{what} after {timeout} s: {error.strerror or error} ({_TIMEOUT} sets the time)"
        ) from error
    if answer:
        raise UserError(answer)


def _gather(port: int, count: int, ends: float, timeout: int) -> str:
    """Waits for all numbers; returns and tells them what is wrong, nothing if all came."""
    came: dict[int, socket.socket] = {}
    with socket.create_server(("", port)) as server:
        while len(came) < count - 1 and time.monotonic() < ends:
            server.settimeout(max(0.01, ends - time.monotonic()))
            try:
                connection, _ = server.accept()
                connection.settimeout(5)
                came[int(connection.makefile().readline())] = connection
            except (TimeoutError, ValueError):
                continue
    missing = sorted({*range(1, count)} - {*came})
    answer = ""
    if missing:
        answer = (
            f"{count - len(missing)} of {count} processes came within {timeout} s;"
            f" missing: {', '.join(map(str, missing))}"
        )
    for connection in came.values():
        with connection:
            connection.sendall(f"{answer}\n".encode())
    return answer


def _report(host: str, port: int, number: int, ends: float) -> str:
    """Tells the first process that we are here; returns its answer."""
    while True:
        left = max(0.1, ends - time.monotonic())
        try:
            with socket.create_connection((host, port), timeout=left) as connection:
                connection.settimeout(left + 10)  # the first process may have begun to wait later
                connection.sendall(f"{number}\n".encode())
                answer = connection.makefile().readline()
                if answer:
                    return answer.strip()
        except socket.gaierror:
            raise
        except OSError:
            if time.monotonic() > ends:
                raise
        time.sleep(0.2)
