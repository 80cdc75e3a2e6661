"""Find out from the environment whether this process is one of several, and which one."""

import dataclasses
import os

from alexnet_jax.errors import UserError
from alexnet_jax.runtime import jax_compat

VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")

# What the launchers set for each process: the number of processes, and the number of this one, from 0.
_COUNTS = ("JAX_NUM_PROCESSES", "SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
_NUMBERS = ("JAX_PROCESS_ID", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "TPU_WORKER_ID")


def is_first() -> bool:
    """Return whether this is process 0 or the only one, judged by variables alone, without JAX."""
    return all(os.environ.get(name, "0") == "0" for name in _NUMBERS)


def is_one_of_several() -> bool:
    """Return whether this process is one of several, judged by variables alone, without JAX."""
    return any(os.environ.get(name, "1") != "1" for name in _COUNTS)


@dataclasses.dataclass(frozen=True)
class Member:
    """One of several processes that a launcher has started.

    Attributes:
      host: name or address of the host of process 0.
      port: port at which process 0 listens.
      count: number of processes.
      number: number of this process, from 0.
      local: number of this process among those of its host, from 0; None if not known.
    """

    host: str
    port: int
    count: int
    number: int
    local: int | None


def started_as(timeout: int) -> Member | None:
    """Return which of several processes this is, according to the environment; None if it is the only one.

    The three variables of JAX come first. Otherwise JAX's own detection is used: SLURM, Open MPI, TPU VMs,
    and Kubernetes with TPUs or GPUs.

    Args:
      timeout: seconds to wait until the host of process 0 is known, if JAX's detection must wait for it.

    Raises:
      UserError: the environment is incomplete, or contradicts itself.
    """
    if any(name in os.environ for name in VARIABLES):
        found = ", ".join(f"{name}={os.environ.get(name)}" for name in VARIABLES)
        address, count, number = (os.environ.get(name, "") for name in VARIABLES)
        member = _member(address, count, number, None)
        if member is None:
            raise UserError(
                f"the processes can't connect with {found}: set these to HOST:PORT, the number of processes,"
                " and the number of this process, from 0"
            )
    else:
        # A shell inside an allocation of several tasks is not one of the tasks.
        if "SLURM_JOB_ID" in os.environ and os.environ.get("SLURM_STEP_NUM_TASKS", "1") == "1":
            return None
        try:
            described = jax_compat.detect_cluster(timeout)
            member = described and _member(*described)
        except UserError:
            raise
        except Exception as error:  # JAX's detection raises various errors for a missing or wrong variable
            raise UserError(
                f"the launcher's description of the processes can't be read"
                f" ({type(error).__name__}: {error}): set {', '.join(VARIABLES)} for each process"
            ) from error
        if described is not None and member is None:
            raise UserError(
                f"the launcher describes the processes wrongly ({described}): set {', '.join(VARIABLES)} for"
                " each process"
            )
    return member if member is not None and member.count > 1 else None


def _member(address: str, count: str | int, number: str | int, local: int | None) -> Member | None:
    """Return the values with their types; None if one of them can't be right."""
    host, _, port = address.rpartition(":")
    try:
        host = host.strip("[]")
        host.encode("idna")  # an empty or too long part of a name is an error
        member = Member(host, int(port), int(count), int(number), local)
    except ValueError:
        return None
    right = member.host and 0 <= member.number < member.count and 0 < member.port < 2**16
    return member if right else None
