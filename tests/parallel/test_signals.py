"""A signal to any process makes all of them save and stop."""

import os
import re
import signal

import pytest

from alexnet_jax import restore
from tests.parallel.test_hosts import start_training

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
@pytest.mark.parametrize("number", [0, 1])
def test_a_signal_to_one_process_saves_on_all(cache_dir, tmp_path, signum, number):
    started, pids = start_training(2, tmp_path, cache_dir, "--config.mesh=(1, 2)")
    os.kill(pids[number], signum)
    printed, _ = started.communicate(timeout=60)
    assert started.returncode == 128 + signum, printed
    (line,) = re.findall(r"alexnet-jax: .*", printed)  # from the first process only
    saved = int(re.search(rf"{signum.name}: saved at step (\d+) of 1000000; resume with", line)[1])
    assert restore(tmp_path).step == saved
