"""End all processes of a run within seconds when one of them ends, with the same line and the same status.

The connections of `rendezvous` stay open. Every process sends a line on them every few seconds. Process 0 is
connected to each other process, and forwards what one of them reports.
"""

import atexit
import contextlib
import json
import os
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import NoReturn

from alexnet_jax.errors import LostProcess
from alexnet_jax.parallel.stopping_step import PREFIX, StoppingStep
from alexnet_jax.runtime import progress

_EVERY = 4.0  # seconds between two signs of life
_SILENCE = 20.0  # seconds after which a silent process counts as lost; JAX's own limit must be longer
_FAREWELL = 5.0  # seconds to wait for the others after they were sent the reason for the end


def watch(number: int, hosts: list[str], connections: dict[int, socket.socket]) -> None:
    """End this process if another one ends early, and notify the others if this one does.

    Args:
      number: number of this process.
      hosts: name of the host of each process.
      connections: connections to the other processes by their numbers, see `rendezvous`.
    """
    global _peers
    _peers = _Peers(number, hosts, connections)
    atexit.register(_peers.leave)
    sys.excepthook = _crash


def end(status: int, message: str) -> None:
    """End all processes of the run with the same status and the same line. Return if there is only one."""
    if _peers is not None:
        _peers.end(status, message)


def abort(status: int, message: str) -> NoReturn:
    """Do the same as `end`, and end this process even if it is the only one, whatever it does."""
    end(status, message)
    progress.complain(message)
    _exit(status)


def leave() -> None:
    """Report that this process has done its work, and wait until the others have, so that it may end first.

    Python does the first at its end. Call this before `os._exit`.
    """
    if _peers is not None:
        _peers.leave()
        _peers.wait()


def several() -> bool:
    """Return whether this is one of several processes."""
    return _peers is not None


def is_first() -> bool:
    """Return whether this is process 0, or the only one."""
    return _peers is None or _peers.number == 0


def stopping_step() -> StoppingStep | None:
    """Return what chooses the step after which all processes stop; None if this is the only process."""
    return None if _peers is None else _peers.stopping_step


def wait_for_loss() -> None:
    """Wait as long as it takes to notice that another process is gone, which ends this one.

    Call this if a collective fails: it may fail before the watch notices that the process is gone.
    """
    try:
        time.sleep(_SILENCE + _EVERY)
    except KeyboardInterrupt:
        end(128 + signal.SIGINT, "stopped")


@contextlib.contextmanager
def cleaned(clean: Callable[[], None]) -> Iterator[None]:
    """Call a function at the end of the ``with`` block, or when another process ends this one inside it."""
    _cleaning.append(clean)
    try:
        yield
    finally:
        _cleaning.remove(clean)
        clean()


def _crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print the traceback of a bug in a script, and end all processes."""
    sys.__excepthook__(kind, error, trace)
    end(1, f"{kind.__name__}: {error}")


class _Peers:
    """A watch over the other processes of a run, in a thread.

    Args:
      number: number of this process.
      hosts: name of the host of each process.
      connections: connections to the other processes by their numbers, see `rendezvous`.
    """

    def __init__(self, number: int, hosts: list[str], connections: dict[int, socket.socket]) -> None:
        self.number, self._hosts = number, hosts
        self._ending = threading.Lock()  # held by whoever ends this process, until its end
        self._sending = threading.Lock()
        self._connections = connections  # open until the end of this process
        self._watched = dict(connections)
        # A peer whose work is done waits in JAX's shutdown, and still needs signs of life from this process.
        self._listening = dict(connections)
        self._left = False
        self.stopping_step = StoppingStep(number, len(hosts), self._send_all)
        self._selector = selectors.DefaultSelector()
        self._heard: dict[int, float] = {}
        self._rest: dict[int, bytes] = {}
        for peer, connection in connections.items():
            # A peer that is lost must not block this process.
            connection.settimeout(_EVERY)
            self._selector.register(connection, selectors.EVENT_READ, peer)
            self._heard[peer], self._rest[peer] = time.monotonic(), b""
        self._thread = threading.Thread(target=self._watch, name="peers", daemon=True)
        self._thread.start()

    def end(self, status: int, message: str) -> NoReturn:
        """End this process and all others, with the same status and the same line on standard error."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # the end takes seconds, and Ctrl-C is a traceback
        with self._ending:  # never released: if another thread has it, this one waits for the end
            if message:
                progress.complain(" ".join(message.split()))
            self._report(status, message)

    def leave(self) -> None:
        """Report that this process has done its work, before it ends."""
        self._left = True
        self._send_all(b"done\n")

    def wait(self) -> None:
        """Wait until the others have done their work. Process 0 has JAX's service, and waits for their end.

        The watch notices those that are lost.
        """
        others = self._listening if self.number == 0 else self._watched
        deadline = time.monotonic() + _SILENCE
        while others and time.monotonic() < deadline:
            time.sleep(0.01)

    def _watch(self) -> None:
        sent = 0.0
        while True:
            # If this process was suspended, read what has arrived before a peer counts as silent.
            now = time.monotonic()
            if now - sent > _EVERY:
                self._send_all(b"alive\n")
                sent = now
            for key, _ in self._selector.select(1):
                self._read(key.data)
            for peer in list(self._watched):
                silent = now - self._heard[peer]
                if silent > _SILENCE:
                    self._lose(peer, f"has not answered for {silent:.0f} seconds")

    def _read(self, peer: int) -> None:
        try:
            piece = self._listening[peer].recv(2**16)
        except TimeoutError:
            return
        except OSError:
            piece = b""
        if not piece and peer in self._watched:
            self._lose(peer, "is gone")
        if not piece:
            self._forget(peer)
            return
        self._heard[peer] = time.monotonic()
        *lines, self._rest[peer] = (self._rest[peer] + piece).split(b"\n")
        for line in lines:
            if line == b"done":
                self._watched.pop(peer, None)
            if line.startswith(PREFIX):
                try:
                    self.stopping_step.read(peer, line)
                except (ValueError, TypeError):
                    self._lose(peer, "has sent a line that can't be read")
            if line.startswith(b"end "):
                try:
                    status, message = json.loads(line[4:])
                    status, message = int(status), str(message)
                except (ValueError, TypeError):
                    self._lose(peer, "has sent a line that can't be read")
                self._forget(peer)
                self.end(status, message)

    def _forget(self, peer: int) -> None:
        self._watched.pop(peer, None)
        self._selector.unregister(self._listening.pop(peer))

    def _lose(self, peer: int, why: str) -> NoReturn:
        self._forget(peer)
        if self._left:
            # If it has ended normally, this process ends meanwhile. If not, JAX's shutdown waits for it.
            time.sleep(2 * _FAREWELL)
        lost = LostProcess(f"process {peer} on host {self._hosts[peer]} {why}: start all again to resume")
        self.end(lost.status, str(lost))

    def _send_all(self, line: bytes) -> None:
        with self._sending:
            for connection in list(self._listening.values()):
                with contextlib.suppress(OSError):  # `_watch` notices
                    connection.sendall(line)

    def _report(self, status: int, message: str) -> NoReturn:
        """Send the reason to the others, and end this process."""
        self._send_all(b"end " + json.dumps([status, message]).encode() + b"\n")
        # Wait until they have read it: a socket that is closed with unread bytes discards what it has sent.
        # JAX's service, on process 0, must end last.
        deadline = time.monotonic() + _FAREWELL
        for connection in list(self._listening.values()):
            with contextlib.suppress(OSError):
                while (left := deadline - time.monotonic()) > 0:
                    connection.settimeout(left)
                    if not connection.recv(2**16):
                        break
        _exit(status)


def _exit(status: int) -> NoReturn:
    """End this process at once, after the calls of `cleaned`."""
    for clean in reversed(_cleaning):
        with contextlib.suppress(Exception):
            clean()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(status)


_peers: _Peers | None = None
_cleaning: list[Callable[[], None]] = []
