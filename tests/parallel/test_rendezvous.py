"""Processes meet at the start, or learn why they can't."""

import contextlib
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from alexnet_jax import UserError
from alexnet_jax.parallel import rendezvous
from alexnet_jax.parallel.rendezvous import meet
from alexnet_jax.runtime.launchers import Member
from tests.conftest import free_port


@pytest.fixture
def port():
    return free_port()


@pytest.fixture(autouse=True)
def short_grace(monkeypatch):
    monkeypatch.setattr(rendezvous, "_GRACE", 1)


def together(*calls):
    """Return the results of calls that run at the same time, or the errors that they raise."""
    with ThreadPoolExecutor(len(calls)) as pool:
        futures = [pool.submit(call) for call in calls]
        return [future.exception(timeout=20) or future.result() for future in futures]


def process(port, number, count=3, timeout=1, host="127.0.0.1"):
    return lambda: meet(Member(host, port, count, number, None), timeout)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_all_know_the_hosts_and_their_own_address(port, host):
    meetings = together(*(process(port, number, timeout=10, host=host) for number in range(3)))
    for meeting in meetings:
        assert meeting.hosts == [socket.gethostname()] * 3
        assert meeting.address in ("127.0.0.1", "::1")
    assert [sorted(meeting.connections) for meeting in meetings] == [[1, 2], [0], [0]]
    meetings[2].connections[0].sendall(b"x")
    assert meetings[0].connections[2].recv(1) == b"x"
    with socket.create_server(("", port), reuse_port=True):  # where JAX's service will listen
        pass
    for meeting in meetings:
        for connection in meeting.connections.values():
            connection.close()


def test_a_missing_process_is_named_by_those_that_started(port):
    for error in together(process(port, 0), process(port, 2)):
        assert "2 of 3 processes started in time; missing: 1 (ALEXNET_JAX_START_TIMEOUT=1 sec" in str(error)


def test_a_repeated_number_is_refused(port):
    for error in together(process(port, 0), process(port, 1), process(port, 1)):
        assert str(error).startswith("two processes have the number 1, on ")


def test_another_count_is_refused(port):
    for error in together(process(port, 0), process(port, 1, count=4)):
        assert "was started as one of 4, but process 0 as one of 3: start all with" in str(error)


def test_another_version_is_named(port, monkeypatch):
    introduction = rendezvous._introduction

    def older(member):
        mine = introduction(member)
        return mine | {"versions": mine["versions"] | ({"flax": "0.1"} if member.number == 1 else {})}

    monkeypatch.setattr(rendezvous, "_introduction", older)
    for error in together(process(port, 0), process(port, 1)):
        assert "has flax 0.1, process 0 (" in str(error)
        assert "install the same on all hosts" in str(error)


def test_a_process_that_was_started_again_takes_part(port):
    def dies():
        with contextlib.closing(connected(port)) as connection:
            line = rendezvous._introduction(Member("127.0.0.1", port, 2, 1, None)) | {"reached": "x"}
            connection.sendall(json.dumps(line | {"count": 3}).encode() + b"\n")
        return process(port, 1, timeout=10)()

    zero, one, two = together(
        process(port, 0, timeout=10), dies, lambda: (time.sleep(1), process(port, 2, timeout=10)())[1]
    )
    assert sorted(zero.connections) == [1, 2]
    one.connections[0].sendall(b"y")
    assert zero.connections[1].recv(1) == b"y"
    for meeting in (zero, one, two):
        for connection in meeting.connections.values():
            connection.close()


def connected(port):
    for _ in range(100):
        with contextlib.suppress(OSError):
            return socket.create_connection(("127.0.0.1", port), timeout=5)
        time.sleep(0.02)
    raise AssertionError


@pytest.mark.parametrize(
    "content",
    [b"GET / HTTP/1.1\r\n\r\n", b"", b'{"number": "a"}\n', b'{"number": 1e999}\n', b"[]\n", b"{}\n"],
)
def test_other_programs_that_connect_are_ignored(port, content):
    def stranger():
        with contextlib.closing(connected(port)) as connection:
            connection.sendall(content)
        return process(port, 1, 2, timeout=10)()

    meetings = together(process(port, 0, 2, timeout=10), stranger)
    for meeting in meetings:
        (connection,) = meeting.connections.values()
        connection.close()


def test_a_process_0_that_cannot_be_reached_is_named(port):
    (error,) = together(process(port, 1))
    assert f"no process 0 at 127.0.0.1:{port}: Connection refused (" in str(error)


def test_a_host_may_get_its_name_later(port, monkeypatch):
    (error,) = together(process(port, 1, host="no-such-host.invalid"))
    assert f"no process 0 at no-such-host.invalid:{port}: its name is unknown" in str(error)
    connect, tries = socket.create_connection, []

    def later(address, timeout):
        tries.append(address)
        if len(tries) < 3:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return connect(("127.0.0.1", address[1]), timeout)

    monkeypatch.setattr(socket, "create_connection", later)
    host = "pod-0.run"
    one, two = together(process(port, 0, 2, 10, host), process(port, 1, 2, 10, host))
    one.connections[1].close()
    two.connections[0].close()


def test_another_program_at_the_port_is_reported():
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        port = server.getsockname()[1]

        def answer():
            server.settimeout(5)
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.sendall(b"SSH-2.0-OpenSSH_9\xff\n")

        pool.submit(answer)
        with pytest.raises(UserError, match=rf"no process 0 at 127.0.0.1:{port}: another program answers"):
            process(port, 1)()
        with pytest.raises(UserError, match=f"can't listen at port {port}: Address already in use; end"):
            process(port, 0)()
        server.shutdown(socket.SHUT_RDWR)
