"""A tunnel to JAX's distributed service that stays open when the service is gone.

If the connection to the service is closed, JAX aborts the whole process from C++, with a stack trace and
status 134 (JAX 0.10.2 to 0.12.0.1). So JAX connects to a local port, where a small process forwards
its bytes. When the other end is lost, the connection to JAX stays open and silent, and `peers` ends the
process with one line. It is a separate process because JAX holds Python's lock while it waits for some
answers. If this small process is killed, the connection stays open, too, because a copy of it waits in a
socket that nobody reads.

This file is also the program of that process: ``python tunnel.py HOST PORT DESCRIPTOR``.
"""

import atexit
import contextlib
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable

KILLED = "the process that forwards JAX's connections was killed: start all again to resume"

_PIECE = 2**16  # bytes


def open_tunnel(host: str, port: int, lost: Callable[[], None]) -> int:
    """Start a process that forwards connections to another host. It ends after this one.

    Args:
      host: name or address of the other host.
      port: its port.
      lost: function to call, in a thread, if the process ends before this one does.

    Returns:
      A port at 127.0.0.1 to which JAX can connect.

    Raises:
      ChildProcessError: the process was killed at once.
      OSError: it can't be started.
    """
    keeper, its = socket.socketpair()
    with its:
        process = subprocess.Popen(
            [sys.executable, "-IS", __file__, host, str(port), str(its.fileno())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[its.fileno()],
        )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdout as printed:
        answer = printed.readline().decode().strip()
    if not answer.isdecimal():
        with process, keeper:
            if process.wait() < 0:
                raise ChildProcessError(KILLED)
            raise OSError(
                f"the process that forwards JAX's connections can't be started ({answer or 'it ended'})"
            )
    to_it, ends = process.stdin, threading.Event()

    def watch() -> None:
        with keeper:
            process.wait()
            if not ends.is_set():
                lost()

    def close() -> None:
        ends.set()
        to_it.close()

    threading.Thread(target=watch, name="tunnel", daemon=True).start()
    # At a normal exit JAX waits until the service has answered or is gone. JAX has registered its shutdown
    # before this function, so it runs later.
    atexit.register(close)
    return int(answer)


def _main(host: str, port: int, keeper: socket.socket) -> None:
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(signum, signal.SIG_IGN)  # a scheduler signals all processes of a job
    try:
        server = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=_serve, args=(server, host, port, keeper), daemon=True).start()
    except (OSError, RuntimeError) as error:  # RuntimeError: no more threads
        print(error, flush=True)
        return
    print(server.getsockname()[1], flush=True)
    sys.stdin.read()
    _ending.set()
    for connection in _connections:
        connection.join()


_connections: list[threading.Thread] = []
_ending = threading.Event()  # set at a normal exit: from now on JAX may notice that the service is gone


def _serve(server: socket.socket, host: str, port: int, keeper: socket.socket) -> None:
    while True:
        near, _ = server.accept()
        socket.send_fds(keeper, [b"."], [near.fileno()])
        _connections.append(threading.Thread(target=_forward, args=(near, host, port), daemon=True))
        _connections[-1].start()


def _forward(near: socket.socket, host: str, port: int) -> None:
    """Forward a connection until JAX closes it."""
    while True:
        try:
            far = socket.create_connection((host, port), timeout=10)
            break
        except OSError:  # process 0 has not started the service yet
            if _ending.wait(0.1):
                return
    for connection in (near, far):
        connection.settimeout(None)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    threading.Thread(target=_answer, args=(far, near), daemon=True).start()
    _copy(near, far)
    far.close()


def _answer(far: socket.socket, near: socket.socket) -> None:
    _copy(far, near)
    _ending.wait()
    with contextlib.suppress(OSError):
        near.shutdown(socket.SHUT_RDWR)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(_PIECE):
            target.sendall(piece)


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]), socket.socket(fileno=int(sys.argv[3])))
