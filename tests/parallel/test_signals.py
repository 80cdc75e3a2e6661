"""A signal to any process makes all of them save and stop."""

import os
import re
import signal

import pytest

from alexnet_jax import restore
from tests.parallel.test_hosts import start_training

pytestmark = pytest.mark.slow


def test_sigterm_to_one_process_saves_on_all(cache_dir, tmp_path):
    started, pids = start_training(2, tmp_path, cache_dir, "--config.mesh=(1, 2)")
    os.kill(pids[1], signal.SIGTERM)
    printed, _ = started.communicate(timeout=60)
    assert started.returncode == 143, printed
    (line,) = re.findall(r"alexnet-jax: .*", printed)  # from the first process only
    saved = int(re.search(r"SIGTERM: saved at step (\d+) of 1000000; resume with", line)[1])
    assert restore(tmp_path).step == saved
