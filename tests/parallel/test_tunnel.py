"""The process that forwards JAX's connections: what it forwards, and what happens if it is lost."""

import select
import socket
import subprocess
import sys
import threading

import pytest

from alexnet_jax.parallel import tunnel
from alexnet_jax.parallel.tunnel import open_tunnel


def test_a_connection_stays_open_if_its_process_is_killed(monkeypatch):
    started, lost, checked = [], threading.Event(), threading.Event()
    start = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: started.append(start(*a, **k)) or started[0])
    monkeypatch.setattr(tunnel.atexit, "register", lambda close: None)

    def on_loss():
        lost.set()
        checked.wait(60)

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = open_tunnel("127.0.0.1", server.getsockname()[1], on_loss)
        with socket.create_connection(("127.0.0.1", port)) as near:
            far, _ = server.accept()
            near.sendall(b"there")
            assert far.recv(9) == b"there"
            far.sendall(b"back")
            assert near.recv(9) == b"back"
            started[0].kill()
            assert lost.wait(60)
            with far:
                assert far.recv(9) == b""
            near.sendall(b"more")
            assert select.select([near], [], [], 0.2)[0] == []
            checked.set()
    started[0].stdin.close()


@pytest.mark.parametrize(("program", "why"), [("/bin/false", "it ended"), ("/bin/echo", "-IS ")])
def test_a_process_that_does_not_start_is_one_line(monkeypatch, program, why):
    monkeypatch.setattr(sys, "executable", program)
    with pytest.raises(OSError, match=rf"forwards JAX's connections can't be started \({why}"):
        open_tunnel("127.0.0.1", 1, lambda: None)


def test_a_process_that_is_killed_at_its_start_is_no_wrong_installation(monkeypatch, tmp_path):
    program = tmp_path / "killed"
    program.write_text("#!/bin/sh\nkill -9 $$\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(ChildProcessError, match="was killed: start all again to resume"):
        open_tunnel("127.0.0.1", 1, lambda: None)
