"""Readers beside a training that saves at every step: each finds a whole checkpoint and a whole log."""

import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

from alexnet_jax import restore
from alexnet_jax.files import absolute
from alexnet_jax.training import metrics
from tests.conftest import RECIPES, ROOT
from tests.torture.outcome import outcome_here

pytestmark = pytest.mark.slow


@pytest.fixture
def training(tmp_path, cache_dir):
    """A workdir in which a training saves at every step until the test ends."""
    place, many = tmp_path / "workdir", "1000000"
    words = [f"--config={RECIPES / 'tiny.py'}", f"--workdir={place}", f"--config.data.cache_dir={cache_dir}"]
    settings = [f"--config.num_steps={many}", "--config.checkpoint_every=1", "--config.eval_every=7"]
    process = subprocess.Popen(
        [sys.executable, "-m", "alexnet_jax", "train", *words, *settings],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    for line in process.stdout:
        if line.startswith("step 20 "):
            break
    with (tmp_path / "output.txt").open("w") as output:  # the pipe must not fill up
        pump = subprocess.Popen(["cat"], stdin=process.stdout, stdout=output)
        yield place
        assert process.poll() is None, (tmp_path / "output.txt").read_text()
        process.send_signal(signal.SIGTERM)
        process.wait()
        process.stdout.close()
        pump.wait()


def test_readers_beside_a_training(training, cache_dir, turns, capfd):
    cache = f"--config.data.cache_dir={cache_dir}"
    last = 0
    for moments in turns:
        match moments.choice(["restore", "restore", "best", "log", "evaluate", "report"]):
            case "restore":
                found = restore(training)
                assert found.step >= last
                last = found.step
                assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found.params))
            case "best":
                assert restore(training, "best").step > 0
            case "log":
                steps = [line["step"] for line in metrics.read(absolute(training)).train]
                assert steps == sorted({*steps})
            case "evaluate":
                assert outcome_here(["evaluate", f"--workdir={training}", cache], capfd, "evaluate") == 0
            case "report":
                page = f"--save={training.parent / 'report.html'}"
                assert outcome_here(["report", f"--workdir={training}", cache, page], capfd, "report") == 0
    print(f"up to step {last}")
