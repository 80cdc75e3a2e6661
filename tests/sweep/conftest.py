"""Helpers and fixtures for the tests of sweeps: a sweep of tiny networks, its commands and its files."""

import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

from alexnet_jax.cli.main import main
from tests.conftest import RECIPES

TINY = str(RECIPES / "tiny.py")

# A network; one that starts from its parameters and keeps them (learning rate 0); one that fails.
# The ensemble averages the first two.
SWEEP = """
    (
        Member("base", TINY, {"num_steps": 10}, published=Published("a set", 40.7, 18.2)),
        Member(
            "tuned*", TINY, {"num_steps": 1, "optimizer.learning_rate": 0.0},
            init_from="base", published=Published("another", 1.4, worse=True),
        ),
        Member("too fast", TINY, {"optimizer.learning_rate": 1e6}, seeds=(0,)),
    ),
    "base", seeds=(0, 1), ensembles=(Ensemble("all of them", ("base", "tuned*")),),
"""


def write_sweep(path, text):
    path.write_text(
        "from alexnet_jax.sweep import Ensemble, Member, Published, Sweep\n"
        f"TINY = {TINY!r}\n"
        f"def sweep(variants=''):\n    return Sweep({text})\n"
    )
    return path


def words(file, workdir, cache_dir, *more):
    return [
        "sweep", f"--config={file}", f"--workdir={workdir}", f"--config.data.cache_dir={cache_dir}", *more
    ]  # fmt: skip


def start(args):
    return subprocess.Popen(
        [sys.executable, "-m", "alexnet_jax", *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process):
    out, err = process.communicate(timeout=300)
    return SimpleNamespace(status=process.returncode, out=out, err=err)


def run(args):
    return ended(start(args))


def refused(capfd, args):
    """Return the error line of a sweep that is refused."""
    status = main(list(map(str, args)))
    err = capfd.readouterr().err
    assert status == 2, err
    assert err.count("\n") == 1
    assert err.startswith("alexnet-jax: ")
    return err


def bytes_of(workdir):
    """Return the contents of all files that trainings and tests have written, by path."""
    return {path: path.read_bytes() for path in workdir.glob("*/**/*") if path.is_file()}


def evaluation(workdir, name):
    return json.loads((workdir / name / "evaluation.json").read_text())


def listed(args, capfd):
    """Return the state of each network in a dry run."""
    assert main([*args, "--dry_run"]) == 0
    lines = [line.split("  ") for line in capfd.readouterr().out.splitlines()]
    return [line[1] for line in lines if line[0].isdigit()]


@pytest.fixture(scope="session")
def swept(tmp_path_factory, cache_dir):
    """A finished sweep. Two tasks ran at the same time, by index; then one command ran the rest."""
    workdir = tmp_path_factory.mktemp("swept")
    file = write_sweep(tmp_path_factory.mktemp("recipe") / "mine.py", SWEEP)
    args = words(file, workdir, cache_dir)
    jobs = [start([*args, f"--index={index}"]) for index in (0, 3)]
    jobs = [ended(job) for job in jobs]
    after_jobs = bytes_of(workdir)
    return SimpleNamespace(workdir=workdir, args=args, jobs=jobs, after_jobs=after_jobs, whole=run(args))


@pytest.fixture
def moved(swept, tmp_path):
    """A recipe that a test may change, with a copy of the finished sweep beside it."""
    shutil.copytree(swept.workdir, tmp_path / "sweep")
    return write_sweep(tmp_path / "mine.py", SWEEP)
