"""A disk that is full at a random moment: one line says so, and the same command resumes on a larger one."""

import os
import shutil
import subprocess

import pytest

from tests.conftest import RECIPES
from tests.torture.outcome import outcome
from tests.torture.test_kills import ALEXNET_JAX, STEPS, same_run

pytestmark = pytest.mark.slow

ENOUGH = "64m"


@pytest.fixture
def disk(tmp_path):
    """A small, separate file system. Its size is an option of ``mount``."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ENOUGH}", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def resize(disk, size):
    subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)


def used(disk):
    """Return the bytes that the files on a disk take."""
    free = os.statvfs(disk)
    return (free.f_blocks - free.f_bfree) * free.f_frsize


def test_full_disks(disk, tmp_path, turns):
    def command(place):
        words = [f"--workdir={place / 'workdir'}", f"--config.data.cache_dir={place / 'cache'}", *STEPS]
        return [*ALEXNET_JAX, "train", f"--config={RECIPES / 'tiny.py'}", *words]

    assert outcome(command(disk), "undisturbed") == 0
    shutil.copytree(disk / "workdir", tmp_path / "undisturbed")
    needed, full = used(disk), 0
    for moments in turns:
        shutil.rmtree(disk / "workdir")
        if again := moments.random() < 0.3:
            shutil.rmtree(disk / "cache")
        size = moments.randrange(used(disk), needed) // 4096 * 4096
        resize(disk, size)
        status = outcome(command(disk), f"{size} bytes, {'with' if again else 'without'} the cache")
        resize(disk, ENOUGH)
        if status != 0:
            full += 1
            assert outcome(command(disk), f"after {size} bytes") == 0
        same_run(disk / "workdir", tmp_path / "undisturbed")
    print(f"{full} disks were full")
