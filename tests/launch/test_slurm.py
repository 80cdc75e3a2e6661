"""The files for SLURM, submitted as they are to a SLURM of two nodes on this machine."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from alexnet_jax import get_config, prepare, restore
from tests.conftest import CONFIGS, RECIPES, ROOT
from tests.launch.slurm import NODES, Slurm, need_slurm

TRAIN, SWEEP = (ROOT / "launch" / name for name in ("slurm.sbatch", "slurm-sweep.sbatch"))
BIN = Path(sys.executable).parent
TINY = f"--config={RECIPES / 'tiny.py'}"
ON_TWO = (TINY, "--config.mesh=(1, 2)", "--config.num_steps=1000000")


@pytest.mark.parametrize("script", [TRAIN, SWEEP], ids=lambda script: script.name)
def test_shellcheck_finds_nothing(script):
    done = subprocess.run([BIN / "shellcheck", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_both_files_requeue_in_the_same_way():
    train, sweep = (script.read_text().partition("# Requeue the job")[2] for script in (TRAIN, SWEEP))
    only_train = re.compile(r"^saved\(\) {\n.*?^}\n\n|^saved \|\| .*?\n", re.DOTALL | re.MULTILINE)
    assert only_train.sub("", train) == sweep != ""


@pytest.mark.parametrize("script", [TRAIN, SWEEP], ids=lambda script: script.name)
@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "fill in SHARED at the top of this file, or set it: SHARED=DIR "),
        ({"SHARED": "/missing"}, "SHARED=/missing is not a folder on "),
        ({"SHARED": "/tmp"}, "there is no command alexnet-jax on "),
    ],
)
def test_a_missing_setting_is_refused_in_one_line(script, variables, message):
    environment = {"PATH": "/usr/bin:/bin", "SLURM_JOB_ID": "1"} | variables
    done = subprocess.run([script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert re.fullmatch(f"launch/{script.name}: {message}.*\n", done.stderr)


def test_a_training_must_be_submitted():
    done = subprocess.run([TRAIN], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "launch/slurm.sbatch: submit this file with: sbatch launch/slurm.sbatch\n"


@pytest.fixture(scope="module")
def slurm():
    need_slurm()
    with Slurm() as slurm:
        yield slurm


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A folder with a published cache of the digits, and the variables of a job that uses it."""
    folder = tmp_path_factory.mktemp("shared")
    config = get_config(str(CONFIGS / "digits.py"))
    config.data.cache_dir = str(tmp_path_factory.mktemp("prepared"))
    prepare(config, publish=str(folder / "caches"))
    return folder


class Job:
    """A job, and its log."""

    def __init__(self, slurm, name, number):
        self.slurm, self.number = slurm, number
        self._log = slurm.folder / f"{name}-{number}.log"

    def log(self):
        return self._log.read_text() if self._log.exists() else ""

    def wait_for(self, pattern):
        """Wait until a line of the log matches, and return the match."""
        self.slurm.wait(lambda: re.search(pattern, self.log(), re.MULTILINE), report=self.log)
        return re.search(pattern, self.log(), re.MULTILINE)

    def ends(self, state="COMPLETED", status=0):
        """Wait for the end of the job, and check its state and status."""
        assert self.slurm.ended(self.number) == (state, status), self.log()

    def start_again(self, *changes):
        """Start a requeued job now, not after two minutes. Change it so first (`NAME=VALUE`)."""
        self.slurm.wait(lambda: self.slurm.state(self.number)["JobState"] == "PENDING", report=self.log)
        time.sleep(2)  # a node refuses a job within a second after its end there
        self.slurm.run("scontrol", "update", f"JobId={self.number}", *changes, "StartTime=now")


def variables(slurm, shared):
    """Return the variables of a user who submits a job."""
    path = f"{BIN}:{slurm.environment['PATH']}"
    return {"SHARED": str(shared), "CACHE": f"{shared}/cache", "PATH": path}


def train(slurm, shared, *settings, name, options=(), **more):
    """Submit a training."""
    words = (f"--job-name={name}", *options, TRAIN, *settings)
    return Job(slurm, name, slurm.submit(*words, **variables(slurm, shared) | more))


def complaints(job):
    """Return the messages of slurm.sbatch."""
    return re.findall(r"^launch/slurm\.sbatch: (.*)$", job.log(), re.MULTILINE)


@pytest.mark.slow
def test_a_preempted_run_requeues_and_ends_with_the_bits_of_an_undisturbed_run(slurm, shared):
    words = (f"--config={CONFIGS / 'digits.py'}", "--config.num_steps=400", "--config.log_every=20")
    job = train(slurm, shared, *words, name="preempted")
    job.wait_for(r"^step 20 ")
    urgent = slurm.submit("--partition=high", "--nodes=2", "--gpus-per-node=8", "--wrap=true")
    step = job.wait_for(r"^alexnet-jax: SIGTERM: saved at step (\d+) of 400; resume with: ")[1]
    assert slurm.ended(urgent) == ("COMPLETED", 0)
    job.start_again()
    if slurm.version >= (24, 5):  # it starts a preempted job once more after its end
        job.wait_for("^done: 400 steps")
        job.start_again()
    job.ends()
    assert complaints(job) == ["status 143; requeueing it, 1 of 20"]
    assert f"resuming at step {step} of 400" in job.log()
    on_one_node = ("--nodes=1", "--ntasks-per-node=2", "--gpus-per-node=0", "--cpus-per-task=1")
    undisturbed = train(slurm, shared, *words, options=on_one_node, name="undisturbed")
    undisturbed.ends()
    assert "2 cpu" in undisturbed.log()
    one, other = (restore(shared / "runs" / name).params for name in ("preempted", "undisturbed"))
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.slow
def test_a_run_is_saved_before_its_time_limit_and_requeued_a_limited_number_of_times(slurm, shared):
    job = train(slurm, shared, *ON_TWO, name="limit", REQUEUES="1")
    job.wait_for(r"^step 10 ")
    slurm.run("scontrol", "update", f"JobId={job.number}", "TimeLimit=3")  # minutes
    job.wait_for("SIGUSR1: saved at step ")
    job.wait_for(r"status 138; requeueing it, 1 of 1$")
    job.start_again("TimeLimit=60")
    job.wait_for(r"resuming at step [\s\S]*^step \d+ ")
    slurm.run("scancel", "--signal=USR1", job.number)
    job.ends("FAILED", 138)
    assert complaints(job)[1:] == [
        "status 138; not requeued: all 1 requeues are used; to resume it, submit it again"
    ]


@pytest.mark.slow
def test_a_cluster_that_does_not_requeue(slurm, shared):
    job = train(slurm, shared, *ON_TWO, options=["--no-requeue"], name="once")
    job.wait_for(r"^step 10 ")
    slurm.run("scancel", "--signal=USR1", job.number)
    job.ends("FAILED", 138)
    step = int(job.wait_for(r"SIGUSR1: saved at step (\d+) ")[1])
    assert re.fullmatch(
        "status 138; not requeued: .+ disabled .+; to resume it, submit it again", complaints(job)[1]
    )
    again = train(slurm, shared, *ON_TWO[:2], f"--config.num_steps={step + 10}", name="once")
    again.ends()
    assert f"resuming at step {step} of {step + 10}" in again.log()


@pytest.mark.slow
def test_scancel_saves_the_run_and_ends_the_job(slurm, shared):
    job = train(slurm, shared, *ON_TWO, name="cancelled")
    job.wait_for(r"^step 10 ")
    slurm.run("scancel", job.number)
    job.ends("CANCELLED")
    job.wait_for("alexnet-jax: SIGTERM: saved at step ")
    assert complaints(job) == []


@pytest.mark.slow
def test_a_run_resumes_after_a_node_has_failed(slurm, shared):
    """SLURM requeues the job, not the file."""
    job = train(slurm, shared, *ON_TWO, name="failed")
    job.wait_for(r"^step 10 ")
    slurm.run("scontrol", "update", f"NodeName={NODES[1]}", "State=DOWN", "Reason=test")
    job.wait_for("Node failure on ")
    with contextlib.suppress(AssertionError):  # if the node has not registered again already
        slurm.run("scontrol", "update", f"NodeName={NODES[1]}", "State=RESUME")
    job.start_again()
    job.wait_for("resuming at step ")
    slurm.run("scancel", job.number)
    job.ends("CANCELLED")


@pytest.mark.slow
def test_a_killed_task_ends_the_job(slurm, shared):
    job = train(slurm, shared, *ON_TWO, name="killed")
    job.wait_for(r"^step 10 ")
    os.kill(task(slurm, job, 1), signal.SIGKILL)
    job.ends("FAILED", 137)
    assert "alexnet-jax: process 1 on host " in job.log()
    assert complaints(job) == ["status 137; not requeued: docs/errors.md explains the status"]


def task(slurm, job, number):
    """Return the id of the Python process of a task."""
    wanted = {f"SLURM_CONF={slurm.folder}/slurm.conf", f"SLURM_JOB_ID={job.number}", f"SLURM_PROCID={number}"}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            variables = (process / "environ").read_text().split("\0")
        except OSError:
            continue
        if wanted <= {*variables} and b"alexnet-jax" in (process / "cmdline").read_bytes():
            return int(process.name)
    raise AssertionError("no such task")


@pytest.fixture
def ends_with(tmp_path):
    """A function that returns a PATH. There, the command ``alexnet-jax`` only runs the given line."""

    def make(last_line):
        command = tmp_path / "alexnet-jax"
        command.write_text(f"#!/bin/sh\n{last_line}\n")
        command.chmod(0o755)
        return f"{tmp_path}:{os.environ['PATH']}"

    return make


@pytest.mark.slow
@pytest.mark.parametrize(("last_line", "status"), [("kill -USR1 $$", 138), ("exit 75", 75)])
def test_a_run_without_a_checkpoint_is_not_requeued(slurm, shared, ends_with, last_line, status):
    """For example, because the time limit came before the first checkpoint."""
    job = train(slurm, shared, name=f"unsaved{status}", PATH=ends_with(last_line))
    job.ends("FAILED", status)
    assert complaints(job) == [f"status {status}; not requeued: no checkpoint was saved"]


@pytest.mark.slow
def test_a_run_that_lost_a_host_is_requeued(slurm, shared, ends_with):
    (shared / "runs" / "lost" / "checkpoints" / "10").mkdir(parents=True)
    path = ends_with('[ "$SLURM_RESTART_COUNT" ] || exit 75')
    job = train(slurm, shared, name="lost", PATH=path)
    job.wait_for("status 75; requeueing it, 1 of 20")
    job.start_again()
    job.ends()


@pytest.mark.slow
def test_an_environment_without_cuda_is_refused(slurm, shared, monkeypatch):
    monkeypatch.delitem(slurm.environment, "JAX_PLATFORMS")
    job = train(slurm, shared, *ON_TWO, name="cuda")
    job.ends("FAILED", 2)
    assert "alexnet-jax: JAX_PLATFORMS=cuda, but JAX is installed without CUDA: " in job.log()
    assert complaints(job) == ["status 2; not requeued: docs/errors.md explains the status"]


MEMBERS = """
from alexnet_jax.sweep import Ensemble, Member, Sweep

def sweep(variants=""):
    members = (
        Member("long", TINY, {"num_steps": 1000000}, seeds=(0,)),
        Member("short", TINY, {"num_steps": 10}),
        Member("tuned", TINY, {"num_steps": 1}, init_from="short"),
    )
    return Sweep(members, seeds=(0,), ensembles=(Ensemble("both", ("short", "tuned")),))
"""


@pytest.mark.slow
def test_a_sweep_is_one_array_and_others_that_wait_for_it(slurm, shared, tmp_path):
    recipe = tmp_path / "mine.py"
    recipe.write_text(MEMBERS.replace("TINY", repr(str(RECIPES / "tiny.py"))))
    command, environment = (SWEEP, f"--config={recipe}"), variables(slurm, shared) | {"NAME": "mine"}
    submitted = slurm.run(*command, **environment)
    tasks = re.findall(r"^submitted the tasks (\S+) as job (\d+)$", submitted, re.MULTILINE)
    assert [indices for indices, _ in tasks] == ["0-1", "2", "3"]
    first, tuned, both = (number for _, number in tasks)
    long, short, tuned, both = (
        Job(slurm, "mine", number) for number in (f"{first}_0", f"{first}_1", f"{tuned}_2", f"{both}_3")
    )
    long.wait_for("^step 10 ")
    slurm.run("scancel", "--signal=USR1", long.number)
    long.wait_for("^launch/slurm-sweep.sbatch: status 138; requeueing it, 1 of 20$")
    short.ends()
    assert slurm.state(tuned.number)["Reason"] == "Dependency"  # it waits for the requeued task too
    long.start_again()
    long.wait_for(r"resuming at step [\s\S]*^step \d+ ")
    slurm.run("scancel", long.number)
    tuned.ends()
    both.ends()
    assert (shared / "runs" / "mine" / "both" / "evaluation.json").exists()
    assert slurm.run(*command, **environment).startswith("submitted the tasks 0 as job ")


@pytest.mark.slow
def test_a_task_beyond_the_sweep_is_refused(slurm, shared):
    number = slurm.submit("--array=2", SWEEP, "--config=section33", **variables(slurm, shared))
    job = Job(slurm, "ablations", f"{number}_2")
    job.ends("FAILED", 2)
    assert "alexnet-jax: --index is 2, but must be between 0 and 1\n" in job.log()
    assert "status 2; not requeued: docs/errors.md explains the status\n" in job.log()
