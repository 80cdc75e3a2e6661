"""Several processes as one run: how they connect, and what they agree on.

`launchers` finds out whether there are several. They meet (`rendezvous`), watch one another until the end
(`peers`), and connect through ``jax.distributed``. For a single process the checks here cost nothing.
"""

import json
import os
import secrets
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils

from alexnet_jax.errors import LostProcess, UserError
from alexnet_jax.parallel import peers, tunnel, watchdog
from alexnet_jax.parallel.rendezvous import TIMEOUT, Meeting, meet
from alexnet_jax.runtime import jax_compat, launchers, progress
from alexnet_jax.runtime.devices import all_devices
from alexnet_jax.runtime.launchers import Member

_HEARTBEAT = 60  # seconds after which JAX aborts; `peers` notices a lost process earlier


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
    member = launchers.started_as(timeout)
    if member is not None:
        meeting = meet(member, timeout)
        peers.watch(member.number, meeting.hosts, meeting.connections)
        _connect(member, meeting, timeout)
    all_devices()


def _connect(member: Member, meeting: Meeting, timeout: int) -> None:
    """Start JAX's distributed service on process 0, and connect to it."""
    port = member.port
    if member.number != 0:
        try:
            port = tunnel.open_tunnel(member.host, member.port, _lose_tunnel)
        except ChildProcessError as error:
            raise LostProcess(str(error)) from error
    progress.hide_output_of_libraries()
    os.environ["no_grpc_proxy"] = "127.0.0.1"  # noqa: SIM112, gRPC reads it in lower case
    jax.config.update("jax_check_proxy_envs", False)
    jax.config.update("jax_enable_preemption_service", False)  # it takes SIGTERM; see `stopping_step`
    if meeting.address:
        jax_compat.set_gloo_address(meeting.address)
    # If several processes run on a host, each uses the device with its own number, as in JAX's detection.
    shares = meeting.hosts.count(meeting.hosts[member.number]) > 1
    chosen = None if "JAX_LOCAL_DEVICE_IDS" in os.environ or not shares else member.local
    jax.distributed.initialize(
        f"127.0.0.1:{port}",
        member.count,
        member.number,
        local_device_ids=None if chosen is None else [chosen],
        cluster_detection_method="deactivate",
        initialization_timeout=timeout,
        heartbeat_timeout_seconds=_HEARTBEAT,
    )


def _lose_tunnel() -> None:
    peers.end(LostProcess.status, tunnel.KILLED)


def is_first() -> bool:
    """Return whether this is process 0, which prints and writes the files that all processes share."""
    return jax.process_index() == 0


def say(line: str) -> None:
    """Print a line for the user, on the first process only."""
    if is_first():
        with watchdog.waiting_for(None):  # Ctrl-S stops a terminal
            progress.say(line)


def same(settings: dict[str, Any]) -> None:
    """Wait for the other processes, and check that all have the same settings.

    Raises:
      UserError: two processes differ. Every process raises it, and it names the first setting that differs.
    """
    if jax.process_count() == 1:
        return
    if not peers.several():
        raise UserError(
            f"this is one of {jax.process_count()} processes, which are not connected:"
            f" set {', '.join(launchers.VARIABLES)} for each"
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
    shared = all_true(mark.exists())
    if is_first():
        mark.unlink()
    if not shared:
        raise UserError(f"{directory} is not the same directory for all processes: take one that they share")
