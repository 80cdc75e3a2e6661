"""A signal to any process makes all of them save and stop."""

import os
import re
import signal
from pathlib import Path

import pytest

from alexnet_jax import restore
from alexnet_jax.errors import LostProcess
from alexnet_jax.parallel import peers
from alexnet_jax.parallel.signals import Signals
from tests.parallel.test_hosts import end_of, start_training


def test_a_handler_asks_nothing_and_the_next_step_does_once(monkeypatch, capfd):
    received = []

    class Recorder:
        def begin(self):
            received.append("begin")

        def stop_after(self, step, signum):
            received.append((step, signum))

    monkeypatch.setattr(peers, "stopping_step", Recorder)
    with Signals() as signals:
        assert signals.stop_after(0) is None
        os.kill(os.getpid(), signal.SIGUSR1)
        assert received == ["begin", (0, None)]
        assert signals.stop_after(1) is None
    assert received == ["begin", (0, None), (1, signal.SIGUSR1)]
    assert capfd.readouterr().err == "SIGUSR1: saving; a second signal stops at once\n"


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
@pytest.mark.parametrize("number", [0, 1])
def test_a_signal_to_one_process_saves_on_all(cache_dir, tmp_path, signum, number):
    started, pids = start_training(2, tmp_path, cache_dir, "--config.mesh=(1, 2)")
    os.kill(pids[number], signum)
    printed = end_of(started, pids)
    assert started.returncode == 128 + signum, printed
    (line,) = re.findall(r"alexnet-jax: .*", printed)  # from the first process only
    saved = int(re.search(rf"{signum.name}: saved at step (\d+) of 1000000; resume with", line)[1])
    assert restore(tmp_path).step == saved


@pytest.mark.slow
def test_a_signal_while_process_0_is_suspended_ends_as_a_lost_process(cache_dir, tmp_path):
    started, pids = start_training(2, tmp_path, cache_dir, "--config.mesh=(2, 1)")
    os.kill(pids[0], signal.SIGSTOP)
    os.kill(pids[1], signal.SIGTERM)
    printed = []
    while not printed or " has not answered for " not in printed[-1]:
        printed.append(started.stdout.readline())
        assert printed[-1], printed
    os.kill(pids[0], signal.SIGCONT)
    rest = end_of(started, pids)
    assert started.returncode == LostProcess.status, rest


@pytest.mark.slow
def test_the_end_of_the_process_that_forwards_connections_is_one_line(cache_dir, tmp_path):
    started, pids = start_training(2, tmp_path, cache_dir, "--config.mesh=(2, 1)")
    children = Path(f"/proc/{pids[1]}/task/{pids[1]}/children").read_text().split()
    (victim,) = (pid for pid in children if b"tunnel.py" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(int(victim), signal.SIGKILL)
    printed = end_of(started, pids)
    assert started.returncode == LostProcess.status, printed
    lines = [line[4:] for line in printed.splitlines() if re.match(r"\[\d\] ", line)]
    assert (
        lines
        == ["alexnet-jax: the process that forwards JAX's connections was killed: start all again to resume"]
        * 2
    )
