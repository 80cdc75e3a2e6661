"""A check that all processes of a run have started, before JAX connects them.

If a process is missing, `jax.distributed.initialize` aborts without naming it (JAX 0.10.2 to 0.12.0.1). So
process 0 first listens at the coordinator's port. Each other process sends it a line with its number. The
answer is a line that reports whether all have started.
"""

import contextlib
import socket
import time

from alexnet_jax.errors import UserError

TIMEOUT = "ALEXNET_JAX_START_TIMEOUT"
"""The environment variable with the seconds to wait for the other processes."""

_ALL_STARTED = "alexnet-jax: all started"


def meet(host: str, port: int, count: int, number: int, timeout: int) -> None:
    """Wait until every process has started.

    Args:
      host: host name of process 0.
      port: port at which process 0 listens.
      count: number of processes.
      number: number of this process, from 0.
      timeout: seconds to wait.

    Raises:
      UserError: a process did not start in time, two have the same number or different counts, the port is
        in use, or the host is unknown.
    """
    deadline = time.monotonic() + timeout
    try:
        answer = (
            _listen(port, count, deadline) if number == 0 else _report(host, port, count, number, deadline)
        )
    except socket.gaierror as error:
        raise UserError(
            f"the coordinator's host {host} is unknown ({error.strerror}): set JAX_COORDINATOR_ADDRESS"
        ) from error
    except OSError as error:
        what = f"can't listen at port {port}" if number == 0 else f"no process 0 at {host}:{port}"
        raise UserError(f"{what}: {error.strerror or error} ({TIMEOUT}={timeout} seconds)") from error
    if answer != _ALL_STARTED:
        raise UserError(f"{answer} ({TIMEOUT}={timeout} seconds)")


def _listen(port: int, count: int, deadline: float) -> str:
    """Wait for the numbers of all processes. Send each the same answer, and return it."""
    started: set[int] = set()
    problem = ""
    with contextlib.ExitStack() as opened:
        server = opened.enter_context(socket.create_server(("", port)))
        connections = []
        while len(started) < count - 1 and not problem and time.monotonic() < deadline:
            server.settimeout(max(0.01, deadline - time.monotonic()))
            # Errors mean that the deadline has passed, or that another program has connected.
            with contextlib.suppress(OSError, ValueError):
                connection = opened.enter_context(server.accept()[0])
                connection.settimeout(5)
                with connection.makefile() as lines:
                    word, number, of = lines.readline().split()
                if word != "alexnet-jax":
                    continue
                connections.append(connection)
                if int(of) != count:
                    problem = f"process {number} was started as one of {of}, but process 0 as one of {count}"
                elif int(number) in started:
                    problem = f"two processes have JAX_PROCESS_ID={number}"
                started.add(int(number))
        missing = sorted({*range(1, count)} - started)
        if missing and not problem:
            numbers = ", ".join(map(str, missing))
            problem = f"{count - len(missing)} of {count} processes started in time; missing: {numbers}"
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.sendall(f"{problem or _ALL_STARTED}\n".encode())
    return problem or _ALL_STARTED


def _report(host: str, port: int, count: int, number: int, deadline: float) -> str:
    """Send the number of this process to process 0, and return the answer."""
    problem: OSError = TimeoutError("no answer")
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((host, port), timeout=deadline - time.monotonic()) as connection:
                # Process 0 may have started after this one, and then waits longer.
                connection.settimeout(deadline - time.monotonic() + 10)
                connection.sendall(f"alexnet-jax {number} {count}\n".encode())
                with connection.makefile(errors="replace") as lines:
                    answer = lines.readline().strip()
                if answer == _ALL_STARTED or " process" in answer:
                    return answer
                problem = TimeoutError("another program answers there")
        except socket.gaierror:
            raise
        except OSError as error:
            problem = error
        time.sleep(0.2)
    raise problem
