"""Commands that are killed at random moments and started again write the same results as undisturbed ones.

A turn is one SIGKILL: to the command and all processes that it started, to the command alone, or to one
process.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from alexnet_jax import restore
from alexnet_jax.errors import LostProcess
from tests.conftest import CONFIGS, ROOT
from tests.odd_images import scene
from tests.sweep.conftest import TINY, write_sweep

pytestmark = pytest.mark.slow

ALEXNET_JAX = [sys.executable, "-m", "alexnet_jax"]
STEPS = ["--config.num_steps=400", "--config.checkpoint_every=17", "--config.eval_every=60"]


@pytest.fixture(autouse=True)
def optimized(monkeypatch):
    """Let runs take longer than their compilation."""
    monkeypatch.delenv("JAX_DISABLE_MOST_OPTIMIZATIONS")


def descendants(pid):
    """Return the processes that a process has started, and that these have started."""
    with contextlib.suppress(OSError):  # it has ended
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [each for child in map(int, children) for each in (child, *descendants(child))]
    return []


def is_running(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def kill_some(process, moments):
    """Kill a command, all its processes, or one of them, and wait until all have ended."""
    family = [process.pid, *descendants(process.pid)]
    victims = moments.choice([family, family, [process.pid], [moments.choice(family)]])
    for pid in victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait(120)
    deadline = time.monotonic() + 120
    while any(map(is_running, family)):
        assert time.monotonic() < deadline, "a process is still running two minutes after the kill"
        time.sleep(0.05)


def torture(command, place, turns, check, may_fail=()):
    """Kill a command at random moments until it ends, and check what it has written; then begin again.

    Args:
      command: function that returns the words of the command that writes to a path.
      place: folder for these paths.
      turns: the turns of the test. After the last one, the command runs to its end.
      check: function that compares what is at two paths.
      may_fail: statuses with which the command ends if one of its processes is killed.
    """
    began = time.monotonic()
    subprocess.run(command(place / "undisturbed"), check=True, capture_output=True, cwd=ROOT)
    seconds = time.monotonic() - began
    path, ended = place / "killed", 0
    moments = next(turns)
    while moments is not None:
        status = None
        while status != 0:
            with (place / "output.txt").open("w") as output:
                process = subprocess.Popen(command(path), stdout=output, stderr=output, cwd=ROOT)
                try:
                    status = process.wait(300 if moments is None else moments.uniform(0, seconds))
                except subprocess.TimeoutExpired:
                    assert moments is not None, (place / "output.txt").read_text()
                    kill_some(process, moments)
                    status, moments = process.returncode, next(turns, None)
            printed = (place / "output.txt").read_text()
            assert status in (0, -signal.SIGKILL, *may_fail), printed
            assert "is damaged" not in printed, printed
        check(path, place / "undisturbed")
        shutil.rmtree(path)
        ended += 1
    print(f"{ended} runs ended like the undisturbed one")


def files_in(path):
    """Return the files below a path, without those of which each start writes another one."""
    names = (str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())
    return {name for name in names if "tfevents" not in name and "/d/" not in name}


def same_run(killed, undisturbed):
    """Compare the parameters, the log and the names of the files of two workdirs."""
    ours, theirs = restore(killed), restore(undisturbed)
    assert ours.step == theirs.step
    for one, other in zip(jax.tree.leaves(ours.params), jax.tree.leaves(theirs.params), strict=True):
        np.testing.assert_array_equal(one, other)
    logs = ((path / "metrics.jsonl").read_text().splitlines() for path in (killed, undisturbed))
    timed = dict.fromkeys(("images_per_second", "flops_per_second"))
    one, other = ([json.loads(line) | timed for line in log] for log in logs)
    assert one == other
    assert files_in(killed) == files_in(undisturbed)


def test_training(cache_dir, tmp_path, turns):
    def command(workdir):
        return [
            *ALEXNET_JAX, "train", f"--config={TINY}", f"--workdir={workdir}", *STEPS,
            f"--config.data.cache_dir={cache_dir}",
        ]  # fmt: skip

    torture(command, tmp_path, turns, same_run)


def test_training_by_two_processes(cache_dir, tmp_path, turns, monkeypatch):
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")

    def command(workdir):
        return [
            sys.executable, str(ROOT / "launch" / "local"), "2", *ALEXNET_JAX, "train", f"--config={TINY}",
            f"--workdir={workdir}", f"--config.data.cache_dir={cache_dir}", *STEPS, "--config.mesh=(1, 2)",
        ]  # fmt: skip

    may_fail = (128 + signal.SIGKILL, LostProcess.status)
    torture(command, tmp_path, turns, same_run, may_fail)


@pytest.fixture
def five_shards(tmp_path):
    """The source of a folder with 800 photographs of two classes."""
    pixels = np.random.default_rng(0).integers(0, 256, (60, 256, 256, 3), np.uint8)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    for name in ("cat", "dog"):
        (tmp_path / "many" / name).mkdir(parents=True)
        for i in range(400):
            (tmp_path / "many" / name / f"{i:03}.png").symlink_to(tmp_path / f"{i % 60}.png")
    return f"folder:{tmp_path / 'many'}"


def test_prepare(five_shards, tmp_path, turns):
    def command(cache_dir):
        return [
            *ALEXNET_JAX, "prepare", f"--config={CONFIGS}/folder.py", f"--config.data.source={five_shards}",
            "--config.data.encoding=raw", f"--config.data.cache_dir={cache_dir}",
        ]  # fmt: skip

    def same_cache(killed, undisturbed):
        one, other = (
            {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}
            for path in (killed, undisturbed)
        )
        assert one == other

    torture(command, tmp_path, turns, same_cache, may_fail=(1,))


def test_a_sweep(cache_dir, tmp_path, turns):
    settings = {"num_steps": 200, "checkpoint_every": 17, "eval_every": 60}
    members = (  # the first two run at the same time
        f"Member('base', TINY, {settings})",
        f"Member('other', TINY, {settings | {'optimizer.learning_rate': 0.01}})",
        f"Member('tuned', TINY, {settings}, init_from='base')",
    )
    file = write_sweep(tmp_path / "mine.py", f"({', '.join(members)})")

    def command(workdir):
        return [
            *ALEXNET_JAX, "sweep", f"--config={file}", f"--workdir={workdir}",
            f"--config.data.cache_dir={cache_dir}",
        ]  # fmt: skip

    def same_sweep(killed, undisturbed):
        assert files_in(killed) == files_in(undisturbed)
        for name in ("base-seed0", "other-seed0", "tuned-seed0"):
            same_run(killed / name, undisturbed / name)
        assert (killed / "table.md").read_text() == (undisturbed / "table.md").read_text()

    torture(command, tmp_path, turns, same_sweep, may_fail=(1,))


@pytest.mark.parametrize("verb", ["evaluate", "predict", "report"])
def test_a_verb_that_reads(trained, cache_dir, tmp_path, turns, verb):
    image = tmp_path / "image.png"
    Image.fromarray(scene()).save(image)
    cache = f"--config.data.cache_dir={cache_dir}"

    def command(place):
        place.mkdir(exist_ok=True)
        words = {
            "evaluate": [cache, f"--json={place / 'result.json'}"],
            "predict": [str(image), f"--json={place / 'result.json'}"],
            "report": [cache, f"--save={place / 'report.html'}"],
        }
        return [*ALEXNET_JAX, verb, f"--workdir={trained}", *words[verb]]

    def same_files(killed, undisturbed):
        assert files_in(killed) == files_in(undisturbed)
        for name in files_in(killed):
            one, other = (place.joinpath(name).read_text() for place in (killed, undisturbed))
            assert one.replace(str(killed), str(undisturbed)) == other

    torture(command, tmp_path, turns, same_files)
