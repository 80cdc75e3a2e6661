"""Processes wait for each other's long work, and all end if it fails on one of them."""

import re
import sys

import pytest

from alexnet_jax import prepare
from alexnet_jax.parallel.together import together
from tests.conftest import RECIPES, launch

TRAIN = """
import os, sys, time
from alexnet_jax.cli.main import main
from alexnet_jax.data import copies

number, (folder, workdir, verb) = os.environ["JAX_PROCESS_ID"], sys.argv[1:]
copy = copies.copy

def late(*args):
    if number == "1":
        time.sleep(5)
        if verb == "fail":
            raise OSError(28, "No space left on device", "x.images")
    print(f"process {number} copies", flush=True)
    copy(*args)

copies.copy = late
sys.exit(main([
    "train", "--config=RECIPE", f"--workdir={workdir}", "--config.num_steps=2", "--config.mesh=(1, 2)",
    f"--config.data.cache_dir={folder}/{number}", f"--config.data.cache_from={folder}/shared",
]))
""".replace("RECIPE", str(RECIPES / "tiny.py"))


def test_a_single_process_does_the_work_directly():
    assert together(lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        together(lambda: 1 // 0)


@pytest.fixture
def shared(tiny, tmp_path):
    tiny.data.cache_dir = str(tmp_path / "first")
    prepare(tiny, publish=str(tmp_path / "shared"))
    return tmp_path


@pytest.mark.slow
def test_each_host_copies_the_cache_and_the_first_one_waits_for_the_second(shared):
    text = launch(2, sys.executable, "-c", TRAIN, shared, shared / "run", "train", devices=2)
    assert sorted(re.findall(r"process \d copies", text)) == ["process 0 copies", "process 1 copies"]
    for number in "01":
        assert len(list((shared / number).iterdir())) == 2  # the cache and its lock
    assert (shared / "run" / "metrics.jsonl").exists()


@pytest.mark.slow
def test_a_host_with_a_full_disk_ends_all(shared):
    shell = ("bash", "-c", '"$@"; echo "process $JAX_PROCESS_ID: status $?"', "bash")
    text = launch(2, *shell, sys.executable, "-c", TRAIN, shared, shared / "run", "fail", devices=2)
    line = r"alexnet-jax: the cache \S+ can't be copied from \S+ \(x.images: No space left"
    assert len(re.findall(rf"\[[01]\] {line}", text)) == 2
    assert {"process 0: status 2", "process 1: status 2"} <= set(text.splitlines())
    assert not (shared / "run").exists()
