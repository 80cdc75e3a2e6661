"""The meeting of the processes of a run, before JAX connects them.

If a process is missing, `jax.distributed.initialize` aborts without naming it (JAX 0.10.2 to 0.12.0.1). So
process 0 first listens at the coordinator's port. Each other process connects, and sends a line with its
number, its host and its versions. The answer is a line with all hosts, or with the problem. The connections
stay open: `peers` uses them to notice when a process ends.
"""

import contextlib
import dataclasses
import importlib.metadata
import json
import os
import select
import socket
import sys
import threading
import time
from typing import Any

from alexnet_jax.errors import UserError
from alexnet_jax.runtime import launchers, progress
from alexnet_jax.runtime.launchers import Member

TIMEOUT = "ALEXNET_JAX_START_TIMEOUT"
"""The environment variable with the seconds to wait for the other processes."""

_PATIENCE = 10  # seconds until a line reports what a process waits for
_GRACE = 10  # seconds to wait for the other processes, so that a problem can be reported to all
_LONGEST = 2**18  # bytes of a line
_begun = False


@dataclasses.dataclass(frozen=True)
class Meeting:
    """What a process knows about the others when all have started.

    Attributes:
      hosts: name of the host of each process.
      address: address of this host at which the others can reach it; empty if it is not known.
      connections: connections to other processes, by their numbers. Process 0 has one to each of them; each
        of them has one, to process 0.
    """

    hosts: list[str]
    address: str
    connections: dict[int, socket.socket]


def meet(member: Member, timeout: int) -> Meeting:
    """Wait until every process has started.

    Args:
      member: number of this process, and where process 0 is.
      timeout: seconds to wait.

    Raises:
      UserError: a process did not start in time, two have the same number, different counts or different
        versions, the port is in use, or the host of process 0 is unknown.
    """
    global _begun
    _begun = True
    deadline = time.monotonic() + timeout
    if member.number == 0:
        return _Server(member, timeout).wait(deadline)
    return _join(member, timeout, deadline)


def refuse(problem: str) -> None:
    """End the other processes, if there are any, with the problem of this one. After the meeting do nothing.

    Args:
      problem: line for the user.
    """
    deadline = time.monotonic() + _GRACE
    with contextlib.suppress(UserError):  # this problem, which is printed already, or a wrong environment
        member = None if _begun else launchers.started_as(1)
        if member is not None and member.number == 0:
            _Server(member, _GRACE, problem).wait(deadline)
        elif member is not None:
            _join(member, _GRACE, deadline, problem)


class _Server:
    """Process 0, which waits for the others and answers all of them."""

    def __init__(self, member: Member, timeout: int, problem: str = "") -> None:
        self._member, self._timeout = member, timeout
        both = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both else socket.AF_INET
        try:
            self._socket = socket.create_server(("", member.port), family=family, dualstack_ipv6=both)
        except OSError as error:
            raise UserError(
                f"can't listen at port {member.port}: {os.strerror(error.errno or 0)}; end the"
                " program that uses it, or set another port in JAX_COORDINATOR_ADDRESS (with a launcher:"
                " JAX_COORDINATOR_PORT)"
            ) from error
        self._changed = threading.Condition()
        self._introductions: dict[int, dict[str, Any]] = {0: _introduction(member)}
        self._connections: dict[int, socket.socket] = {}
        self._problem = problem
        self._closed = False
        threading.Thread(target=self._accept, name="rendezvous", daemon=True).start()

    def wait(self, deadline: float) -> Meeting:
        """Wait for all processes, and answer them."""
        count = self._member.count
        with self._changed:
            self._changed.wait_for(
                lambda: len(self._introductions) == count or self._problem, deadline - time.monotonic()
            )
            if self._problem:  # report it to those that have not connected yet, too
                self._changed.wait_for(lambda: len(self._introductions) == count, _GRACE)
            missing = sorted({*range(count)} - self._introductions.keys())
            if missing and not self._problem:
                numbers = ", ".join(map(str, missing))
                started = f"{count - len(missing)} of {count} processes started in time"
                self._problem = f"{started}; missing: {numbers} ({TIMEOUT}={self._timeout} seconds)"
            hosts = [each["host"] for _, each in sorted(self._introductions.items())]
            answer = {"problem": self._problem} if self._problem else {"hosts": hosts}
            for connection in self._connections.values():
                with contextlib.suppress(OSError):  # `peers` notices
                    _send(connection, answer)
        self._closed = True
        self._socket.shutdown(socket.SHUT_RDWR)  # ends `_accept`
        self._socket.close()  # JAX will listen at this port
        if self._problem:
            for connection in self._connections.values():
                connection.close()
            raise UserError(self._problem)
        return Meeting(hosts, str(self._introductions[1]["reached"]), self._connections)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                if self._closed:
                    return
                time.sleep(0.1)  # too many open files, for example
                continue
            threading.Thread(target=self._welcome, args=(connection,), daemon=True).start()

    def _welcome(self, connection: socket.socket) -> None:
        """Read the first line of a connection, which may come from another program."""
        connection.settimeout(30)
        try:
            line = _receive(connection)
            number, _ = int(line["number"]), (line["host"], line["count"], line["versions"]["jax"])
        except (OSError, ValueError, LookupError, TypeError, OverflowError, RecursionError):
            connection.close()
            return
        with self._changed:
            if not _is_open(connection):  # it has ended meanwhile, and may have been started again
                connection.close()
                return
            before = self._connections.get(number)
            if before is not None and not _is_open(before):  # it was started again
                del self._introductions[number]
            problem = self._difference(number, line)
            if number in self._introductions:
                with contextlib.suppress(OSError), connection:
                    _send(connection, {"problem": problem})
            else:
                if before is not None:
                    before.close()
                self._introductions[number] = line
                self._connections[number] = connection
            self._problem = self._problem or problem
            self._changed.notify_all()

    def _difference(self, number: int, line: dict[str, Any]) -> str:
        """Return why a process is refused; empty if it is not."""
        mine = self._introductions[0]
        if line.get("problem"):
            return str(line["problem"])
        if line["count"] != mine["count"]:
            return (
                f"process {number} ({line['host']}) was started as one of {line['count']}, but process 0 as"
                f" one of {mine['count']}: start all with the same number"
            )
        if number in self._introductions:
            other = self._introductions[number]["host"]
            return f"two processes have the number {number}, on {other} and {line['host']}"
        if not 0 < number < mine["count"]:
            return (
                f"a process has the number {number}, but the last of {mine['count']} is {mine['count'] - 1}"
            )
        for name, version in mine["versions"].items():
            if line["versions"].get(name) != version:
                return (
                    f"process {number} ({line['host']}) has {name} {line['versions'].get(name)}, process 0"
                    f" ({mine['host']}) has {version}: install the same on all hosts"
                )
        return ""


def _join(member: Member, timeout: int, deadline: float, problem: str = "") -> Meeting:
    """Send the introduction of this process to process 0, and wait for the answer."""
    began, said = time.monotonic(), False
    where = f"{member.host}:{member.port}"
    reason = "no answer"
    while (left := deadline - time.monotonic()) > 0:
        try:
            with contextlib.ExitStack() as opened:
                connection = opened.enter_context(
                    socket.create_connection((member.host, member.port), timeout=min(left, 10))
                )
                # Process 0 may have started after this one, and then waits longer.
                connection.settimeout(left + 10)
                reached = connection.getpeername()[0].removeprefix("::ffff:")
                _send(connection, _introduction(member) | {"reached": reached, "problem": problem})
                answer = _receive(connection)
                if "problem" in answer:
                    raise UserError(answer["problem"])
                mine = connection.getsockname()[0].removeprefix("::ffff:")
                meeting = Meeting(answer["hosts"], mine, {0: connection})
                opened.pop_all()
                return meeting
        except socket.gaierror as error:
            reason = f"its name is unknown, {error.strerror}"  # a pod's name appears after some seconds
        except OSError as error:
            reason = error.strerror or str(error)
        except (ValueError, LookupError, TypeError):
            reason = "another program answers there"
        if not said and time.monotonic() - began > _PATIENCE:
            progress.complain(f"process {member.number} is waiting for process 0 at {where}: {reason}")
            said = True
        time.sleep(min(0.2, max(0, left)))
    raise UserError(f"no process 0 at {where}: {reason} ({TIMEOUT}={timeout} seconds)")


def _introduction(member: Member) -> dict[str, Any]:
    versions = {name: importlib.metadata.version(name) for name in ("alexnet-jax", "jax", "jaxlib", "flax")}
    versions["Python"] = ".".join(map(str, sys.version_info[:2]))
    return {
        "number": member.number,
        "count": member.count,
        "host": socket.gethostname(),
        "versions": versions,
    }


def _is_open(connection: socket.socket) -> bool:
    """Return whether the process at the other end, which sends nothing now, still runs."""
    poll = select.poll()  # `select.select` refuses the descriptors from 1024 on
    poll.register(connection, select.POLLIN)
    readable = poll.poll(0)
    with contextlib.suppress(OSError):
        return not readable or bool(connection.recv(1, socket.MSG_PEEK))
    return False


def _send(connection: socket.socket, line: dict[str, Any]) -> None:
    connection.sendall(json.dumps(line).encode() + b"\n")


def _receive(connection: socket.socket) -> dict[str, Any]:
    """Read a line byte by byte, because the bytes after it are for `peers`."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte or len(line) > _LONGEST:
            raise ValueError("no line")
        line += byte
    content = json.loads(line)
    if not isinstance(content, dict):
        raise ValueError("no object")
    return content
