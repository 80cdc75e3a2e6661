"""Processes find one another at the start, or report which one is missing."""

import contextlib
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from alexnet_jax import UserError
from alexnet_jax.parallel import hosts, rendezvous
from tests.conftest import free_port


@pytest.fixture
def one_of_three(monkeypatch):
    """Set the environment of one process of three, which waits a second for the others."""
    port = free_port()

    def become(number, address=f"127.0.0.1:{port}"):
        monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", address)
        monkeypatch.setenv("JAX_NUM_PROCESSES", "3")
        monkeypatch.setenv("JAX_PROCESS_ID", str(number))
        monkeypatch.setenv("ALEXNET_JAX_START_TIMEOUT", "1")
        return port

    return become


def report(port, number, count=3, seconds=5):
    return rendezvous._report("127.0.0.1", port, count, number, time.monotonic() + seconds)


def in_threads(*calls):
    """Start each call in a thread. Return a function that waits for their results."""
    pool = ThreadPoolExecutor(len(calls))
    futures = [pool.submit(call) for call in calls]
    return lambda: [future.result(timeout=20) for future in futures]


def test_a_missing_process_is_named_by_those_that_started(one_of_three):
    port = one_of_three(0)
    answers = in_threads(lambda: report(port, 2))
    with pytest.raises(UserError, match=r"2 of 3 processes started in time; missing: 1 .*START_TIMEOUT=1 s"):
        hosts.start()
    assert answers() == ["2 of 3 processes started in time; missing: 1"]


def test_a_repeated_number_and_another_count_are_refused(one_of_three):
    port = one_of_three(0)
    answers = in_threads(lambda: report(port, 1), lambda: report(port, 1))
    with pytest.raises(UserError, match="two processes have JAX_PROCESS_ID=1"):
        hosts.start()
    assert answers() == ["two processes have JAX_PROCESS_ID=1"] * 2
    answers = in_threads(lambda: report(port, 1, count=4))
    with pytest.raises(UserError, match="process 1 was started as one of 4, but process 0 as one of 3"):
        hosts.start()
    assert "one of 4" in answers()[0]


def test_other_programs_that_connect_are_ignored(one_of_three):
    """Another program connects and sends something else, or disconnects at once."""
    port = free_port()
    together = in_threads(
        lambda: rendezvous._listen(port, 3, time.monotonic() + 10),
        lambda: report(port, 1),
        lambda: (stranger(port, b"GET / HTTP/1.1\r\n\r\n"), stranger(port, b""), report(port, 2))[-1],
    )
    assert set(together()) == {rendezvous._ALL_STARTED}


def stranger(port, content):
    for _ in range(100):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(content)
                return
        except OSError:
            time.sleep(0.02)


def test_a_coordinator_that_cannot_be_reached_is_named(one_of_three):
    one_of_three(1)
    with pytest.raises(UserError, match=r"no process 0 at 127.0.0.1:\d+: Connection refused"):
        hosts.start()
    one_of_three(1, "no-such-host.invalid:1234")
    with pytest.raises(UserError, match=r"the coordinator's host no-such-host\.invalid is unknown"):
        hosts.start()


def test_another_program_at_the_coordinators_port_is_reported(one_of_three):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer():
            server.settimeout(5)
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.sendall(b"SSH-2.0-OpenSSH_9\xff\n")

        done = in_threads(answer)
        one_of_three(1, f"127.0.0.1:{port}")
        with pytest.raises(UserError, match=rf"no process 0 at 127.0.0.1:{port}: another program answers"):
            hosts.start()
        one_of_three(0, f"127.0.0.1:{port}")
        with pytest.raises(UserError, match=f"can't listen at port {port}: Address already in use"):
            hosts.start()
    done()


@pytest.mark.parametrize("address", ["localhost", ":", "localhost:port", "localhost:70000", ":1234"])
def test_an_incomplete_environment_is_refused(one_of_three, address):
    one_of_three(1, address)
    with pytest.raises(UserError, match="the processes can't connect with JAX_COORDINATOR_ADDRESS="):
        hosts.start()


def test_a_number_that_is_not_below_the_count_is_refused(one_of_three):
    one_of_three(3)
    with pytest.raises(UserError, match="JAX_PROCESS_ID=3"):
        hosts.start()


def test_a_timeout_that_is_no_number_is_refused(monkeypatch):
    monkeypatch.setenv("ALEXNET_JAX_START_TIMEOUT", "soon")
    with pytest.raises(UserError, match="ALEXNET_JAX_START_TIMEOUT=soon is not a number of seconds"):
        hosts.start()
