"""Runs on two and three hosts: if one is lost, the run ends on all with one line, and can be resumed.

Each host is a network namespace, with its own name and its own cache. They share the workdir.
"""

import re
import signal
import sys
import time

import pytest

from alexnet_jax import restore
from alexnet_jax.errors import LostProcess
from tests.conftest import RECIPES
from tests.parallel.network import Network, needs_network

__all__ = ["needs_network"]
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("needs_network", "cache_dir")]


@pytest.fixture
def command(tmp_path):
    """Return the command of a host."""

    def words(number, steps, *more):
        return [
            sys.executable, "-m", "alexnet_jax", "train", f"--config={RECIPES / 'tiny.py'}",
            f"--workdir={tmp_path / 'w'}", f"--config.data.cache_dir={tmp_path / f'cache{number}'}",
            f"--config.num_steps={steps}", "--config.mesh=(2, 1)", "--config.checkpoint_every=10", *more,
        ]  # fmt: skip

    return words


def wait_for_steps(workdir, processes, count=3):
    """Wait until the log has some lines."""
    for _ in range(1200):
        log = workdir / "metrics.jsonl"
        if log.exists() and len(log.read_text().splitlines()) >= count:
            return
        assert all(process.poll() is None for process in processes), [p.communicate() for p in processes]
        time.sleep(0.05)
    raise AssertionError("no steps within a minute")


def ended(process):
    """Return the status and the lines of standard error of a process that ends within a minute."""
    _, err = process.communicate(timeout=60)
    return process.returncode, [line.removeprefix("alexnet-jax: ") for line in err.splitlines()]


def resumed(network, command, workdir, steps):
    """Run the command on all hosts to its end."""
    again = [network.start(i, *command(i, steps)) for i in range(network.count)]
    assert [ended(process) for process in again] == [(0, [])] * network.count
    assert restore(workdir).step == steps


LOST = LostProcess.status
AGAIN = ": start all again to resume"


@pytest.mark.parametrize("victim", [0, 1])
def test_a_host_whose_cable_is_cut(command, tmp_path, victim):
    with Network(2) as network:
        hosts = [network.start(i, *command(i, 1000000)) for i in range(2)]
        wait_for_steps(tmp_path / "w", hosts)
        network.cut(victim)
        for number, host in enumerate(hosts):
            status, (line,) = ended(host)
            assert status == LOST
            other = 1 - number
            assert re.fullmatch(
                f"process {other} on host h{other} has not answered for 2. seconds{AGAIN}", line
            )
    with Network(2) as network:
        resumed(network, command, tmp_path / "w", last_step(tmp_path / "w") + 10)


def last_step(workdir):
    return restore(workdir).step


@pytest.mark.parametrize("victim", [0, 2])
def test_a_host_of_three_that_dies(command, tmp_path, victim):
    with Network(3) as network:
        three = "--config.mesh=(3, 1)", "--config.batch_size=18"
        hosts = [network.start(i, *command(i, 1000000, *three)) for i in range(3)]
        wait_for_steps(tmp_path / "w", hosts)
        hosts.pop(victim).send_signal(signal.SIGKILL)
        for host in hosts:
            assert ended(host) == (LOST, [f"process {victim} on host h{victim} is gone{AGAIN}"])


def test_a_host_that_is_late(command, tmp_path):
    with Network(2) as network:
        first = network.start(1, *command(1, 20))
        time.sleep(12)
        second = network.start(0, *command(0, 20))
        assert ended(second) == (0, [])
        status, (line,) = ended(first)
        assert status == 0
        assert line == "process 1 is waiting for process 0 at h0:4321: Connection refused"


def test_a_host_that_is_missing(command):
    with Network(3) as network:
        hosts = [network.start(i, *command(i, 20), ALEXNET_JAX_START_TIMEOUT="10") for i in (0, 2)]
        for host in hosts:
            status, (line,) = ended(host)
            assert status == 2
            assert line.startswith("2 of 3 processes started in time; missing: 1 (")


def test_a_host_with_a_wrong_clock(command, tmp_path):
    with Network(2) as network:
        hosts = [
            network.start(0, *command(0, 20)),
            network.start(1, "faketime", "-f", "+2h", *command(1, 20)),
        ]
        assert [ended(host) for host in hosts] == [(0, []), (0, [])]
        assert restore(tmp_path / "w").step == 20


def test_a_host_that_does_not_know_the_name_of_process_0(command):
    with Network(2) as network:
        network.resolve(1, {"h1": "10.77.0.2"})
        timeout = {"ALEXNET_JAX_START_TIMEOUT": "12"}
        hosts = [network.start(i, *command(i, 20), **timeout) for i in range(2)]
        assert ended(hosts[0])[0] == 2
        status, lines = ended(hosts[1])
        assert status == 2
        assert lines[-1].startswith("no process 0 at h0:4321: its name is unknown")


@pytest.mark.parametrize("own", [{}, {"h0": "127.0.1.1", "h1": "127.0.1.1"}])
def test_hosts_whose_own_name_is_unknown_or_local(command, tmp_path, own):
    """As on Debian, the name of the host itself has a local address; or the name is unknown."""
    with Network(2) as network:
        for number in range(2):
            names = {"h0": "10.77.0.1"} if number == 1 else {"h1": "10.77.0.2"}
            mine = f"h{number}"
            network.resolve(number, names | ({mine: own[mine]} if mine in own else {}))
        address = {"JAX_COORDINATOR_ADDRESS": "10.77.0.1:4321"}
        hosts = [network.start(i, *command(i, 20), **address) for i in range(2)]
        assert [ended(host) for host in hosts] == [(0, []), (0, [])]
        assert restore(tmp_path / "w").step == 20
