"""Several processes as one run: how they connect, and what they agree on.

If ``JAX_COORDINATOR_ADDRESS``, ``JAX_NUM_PROCESSES`` and ``JAX_PROCESS_ID`` are set (``launch/local`` sets
them), or under SLURM and Open MPI, the processes connect through ``jax.distributed``. A single process passes
every check here at no cost.
"""

import json
import os
import secrets
import signal
import threading
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils

from alexnet_jax.errors import UserError
from alexnet_jax.parallel.rendezvous import TIMEOUT, meet
from alexnet_jax.runtime import progress
from alexnet_jax.runtime.devices import all_devices

_VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
_HEARTBEAT = 30  # seconds after which a silent process counts as dead


def start() -> None:
    """Connect to the other processes, if there are any, and initialize JAX's devices.

    Raises:
      UserError: the environment is incomplete, a process did not connect in time, or JAX cannot use its
        devices.
    """
    try:
        timeout = int(os.environ.get(TIMEOUT, "300"))
    except ValueError:
        raise UserError(f"{TIMEOUT}={os.environ[TIMEOUT]} is not a number of seconds") from None
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
                f"the processes can't connect with {found}: set these to HOST:PORT, the number of processes,"
                " and the number of this process, from 0"
            ) from None
        meet(host, int(port), count, number, timeout)
        jax.distributed.initialize(
            address, count, number, initialization_timeout=timeout, heartbeat_timeout_seconds=_HEARTBEAT
        )
    elif any(int(os.environ.get(name, "1")) > 1 for name in ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")):
        jax.distributed.initialize(initialization_timeout=timeout, heartbeat_timeout_seconds=_HEARTBEAT)
    if jax.distributed.is_initialized() and threading.current_thread() is threading.main_thread():
        # JAX's preemption service would swallow every SIGTERM from here on; `signals.Signals` forwards it.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    all_devices()


def is_first() -> bool:
    """Return whether this is process 0, which prints and writes the files that all processes share."""
    return jax.process_index() == 0


def say(line: str) -> None:
    """Print a line for the user, on the first process only."""
    if is_first():
        progress.say(line)


def same(settings: dict[str, Any]) -> None:
    """Wait for the other processes, and check that all have the same settings.

    Raises:
      UserError: two processes differ. Every process raises it, and it names the first setting that differs.
    """
    if jax.process_count() == 1:
        return
    if not jax.distributed.is_initialized():
        raise UserError(
            f"this is one of {jax.process_count()} processes, which are not connected:"
            f" set {', '.join(_VARIABLES)} for each"
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
                    f" process 0 has {first.get(key)}: start all processes alike"
                )


def all_true(mine: bool) -> bool:
    """Return whether ``mine`` is true on every process."""
    return mine if jax.process_count() == 1 else bool(multihost_utils.process_allgather(mine).all())


def total(mine: np.ndarray) -> np.ndarray:
    """Return the sum over the processes, in float64."""
    if jax.process_count() == 1:
        return mine
    everybody = multihost_utils.process_allgather(mine.view(np.uint32))  # JAX would round float64
    return everybody.view(np.float64).sum(axis=0)


def check_shared(directory: epath.Path) -> None:
    """Check that all processes see the same directory, so that they can write into it together.

    Raises:
      UserError: they do not.
    """
    if jax.process_count() == 1:
        return
    mark = directory / f".seen-{multihost_utils.process_allgather(np.uint32(secrets.randbits(32)))[0]}"
    if is_first():
        mark.touch()
    all_true(True)  # wait until the mark is there
    seen = mark.exists()
    if not all_true(seen):
        raise UserError(f"{directory} is not the same directory for all processes: take one that they share")
    if is_first():
        mark.unlink()
