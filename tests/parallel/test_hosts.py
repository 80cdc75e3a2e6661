"""Several processes act as one run: they compute the same, write one log, and end together."""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from etils import epath

from alexnet_jax import UserError, restore
from alexnet_jax.errors import LostProcess
from alexnet_jax.files import locked
from alexnet_jax.loops.train import train
from alexnet_jax.parallel import hosts
from tests.conftest import RECIPES, ROOT, free_port, launch

pytestmark = pytest.mark.slow

TRAIN = (sys.executable, "-m", "alexnet_jax", "train", f"--config={RECIPES / 'tiny.py'}")
EVALUATE = (sys.executable, "-m", "alexnet_jax", "evaluate")


def start_training(processes, workdir, cache_dir, *flags):
    """Start a run in the background. Return it and the process ids, once the log has some steps."""
    long = [f"--config.{name}=1000000" for name in ("num_steps", "eval_every", "checkpoint_every")]
    command = [*TRAIN, f"--workdir={workdir}", f"--config.data.cache_dir={cache_dir}", *long, *flags]
    # libtpu ignores SIGHUP in the whole process, and processes that this one starts would ignore it, too.
    started = subprocess.Popen(
        ["env", "--default-signal=HUP", sys.executable, ROOT / "launch" / "local", str(processes), *command],
        cwd=ROOT,
        env=os.environ | {"JAX_NUM_CPU_DEVICES": "1", "PYTHONFAULTHANDLER": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    for _ in range(1200):
        metrics = workdir / "metrics.jsonl"
        if metrics.exists() and len(metrics.read_text().splitlines()) > 3:
            break
        assert started.poll() is None, started.communicate()[0]
        time.sleep(0.05)
    pids = list(map(int, Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()))
    assert len(pids) == processes
    return started, pids


def end_of(started, pids):
    """Wait for the end of a run, and return what it printed. A run that does not end prints its stacks."""
    try:
        return started.communicate(timeout=60)[0]
    except subprocess.TimeoutExpired:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGABRT)
                os.kill(pid, signal.SIGCONT)
        pytest.fail(f"it did not end in 60 seconds:\n{started.communicate()[0]}")


def test_sigterm_ends_processes_outside_the_training_loop(tmp_path):
    """They have nothing to save, so SIGTERM has its usual effect."""
    script = (
        "import time; from alexnet_jax.parallel import hosts\n"
        "hosts.start(); print('up', flush=True); time.sleep(60)"
    )
    started = subprocess.Popen(
        [sys.executable, ROOT / "launch" / "local", "2", sys.executable, "-c", script],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert started.stdout.readline() == "up\n"
    assert started.stdout.readline() == "up\n"
    started.terminate()
    started.communicate(timeout=60)
    assert started.returncode == 143


def test_output_that_is_not_utf_8_is_copied():
    started = [sys.executable, ROOT / "launch" / "local", "1", "printf", r"caf\351\nlast\n"]
    found = subprocess.run(started, capture_output=True, timeout=60)
    assert found.stdout.decode() == "caf\N{REPLACEMENT CHARACTER}\nlast\n"
    assert found.returncode == 0


def test_a_directory_that_is_not_shared_is_refused(monkeypatch, tmp_path):
    """This is the first of two processes. The other one does not see its mark."""
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(hosts.multihost_utils, "process_allgather", lambda x: np.array([x, x & 0]))
    with pytest.raises(UserError, match="is not the same directory for all processes"):
        hosts.check_shared(epath.Path(tmp_path))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_is_killed_ends_the_others(cache_dir, tmp_path, victim):
    started, pids = start_training(2, tmp_path, cache_dir, "--config.mesh=(2, 1)")
    os.kill(pids[victim], signal.SIGKILL)
    printed = end_of(started, pids)
    assert started.returncode in (128 + signal.SIGKILL, LostProcess.status)  # that of the first that failed
    (line,) = (line for line in printed.splitlines() if re.match(r"\[\d\] ", line))
    host = socket.gethostname()
    assert line == (
        f"[{1 - victim}] alexnet-jax: process {victim} on host {host} is gone: start all again to resume"
    )


def test_if_one_process_is_refused_all_are(trained, cache_dir, tmp_path):
    """One process has a wrong setting, before they meet. Another finds its cache changed, after that."""
    run = f"{shlex.join(TRAIN)} --workdir={tmp_path}/w --config.data.cache_dir={cache_dir}"
    script = f"exec {run} --config.batch_size=$((16 - 16 * JAX_PROCESS_ID))"
    assert "config.batch_size is 0, but must be from 1 to 2**31 - 1" in refusal_of_both(script)

    shutil.copytree(cache_dir, tmp_path / "1")
    shutil.copytree(cache_dir, tmp_path / "0")
    for damaged in (tmp_path / "1").glob("*/mean_image.npy"):
        damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    settings = f"--config.mesh='(1, 2)' --config.data.cache_dir={tmp_path}/$JAX_PROCESS_ID"
    script = f"exec {shlex.join(TRAIN)} --workdir={tmp_path}/v {settings}"
    assert "mean_image.npy has a wrong checksum" in refusal_of_both(script)


def refusal_of_both(script):
    """Run a script as two processes that are refused. Return the line that both print."""
    printed = launch(2, "bash", "-c", script, devices=2, status=2)
    lines = [line for line in printed.splitlines() if "alexnet-jax: " in line]
    assert sorted(line[:4] for line in lines) == ["[0] ", "[1] "]
    assert lines[0][4:] == lines[1][4:]
    return lines[0]


SLURM = """
    export SLURM_JOB_ID=7 SLURM_STEP_NODELIST=localhost SLURM_NTASKS=$JAX_NUM_PROCESSES
    export SLURM_STEP_NUM_TASKS=$SLURM_NTASKS SLURM_PROCID=$JAX_PROCESS_ID SLURM_LOCALID=$JAX_PROCESS_ID
"""
OPEN_MPI = """
    export OMPI_MCA_orte_hnp_uri="1531576320.0;tcp://127.0.0.1:34911" OMPI_COMM_WORLD_SIZE=$JAX_NUM_PROCESSES
    export OMPI_COMM_WORLD_RANK=$JAX_PROCESS_ID OMPI_COMM_WORLD_LOCAL_RANK=$JAX_PROCESS_ID
"""


@pytest.mark.parametrize("variables", [SLURM, OPEN_MPI])
def test_other_launchers_and_a_missing_process(variables, cache_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_COORDINATOR_PORT", str(free_port()))
    run = (*TRAIN, f"--workdir={tmp_path}", f"--config.data.cache_dir={cache_dir}", "--config.num_steps=2")
    unset = "unset JAX_COORDINATOR_ADDRESS JAX_NUM_PROCESSES JAX_PROCESS_ID"
    bash = ("bash", "-c", f'{variables} {unset}; exec "$@"', "bash")
    assert "done: 2 steps" in launch(2, *bash, *run, "--config.mesh=(1, 2)", devices=2)

    monkeypatch.setenv("ALEXNET_JAX_START_TIMEOUT", "3")
    variables = variables.replace("$JAX_NUM_PROCESSES", "3")
    bash = ("bash", "-c", f'{variables} {unset}; exec "$@"', "bash")
    printed = launch(2, *bash, *run, "--config.mesh=(1, 2)", devices=2, status=2)
    assert printed.count("2 of 3 processes started in time; missing: 2 (") == 2


def test_proxy_variables_are_ignored(cache_dir, tmp_path, monkeypatch):
    for name in ("http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nothing listens
    run = (*TRAIN, f"--workdir={tmp_path}", f"--config.data.cache_dir={cache_dir}", "--config.num_steps=2")
    printed = launch(2, *run, "--config.mesh=(1, 2)", devices=2)
    assert "done: 2 steps" in printed
    assert printed.count("goodput: ") == 1  # only the first one prints
    assert "[Gloo]" not in printed
    assert "[0] " not in printed
    assert "[1] " not in printed


def test_evaluation_by_two_processes_counts_every_example_once(trained, cache_dir, tmp_path):
    command = (*EVALUATE, f"--workdir={trained}", f"--config.data.cache_dir={cache_dir}")
    alone, together = tmp_path / "alone.json", tmp_path / "together.json"
    subprocess.run([*command, f"--json={alone}"], cwd=ROOT, check=True, capture_output=True)
    printed = launch(2, *command, f"--json={together}", devices=6)
    assert printed.count("top-1 error") == 1  # only the first one prints
    one, two = (json.loads(path.read_text()) for path in (alone, together))
    assert one["examples"] == two["examples"] == 360
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-6)
    assert (two["top1_error"], two["top5_error"]) == (one["top1_error"], one["top5_error"])


def test_processes_that_evaluate_different_views_are_refused(trained, cache_dir):
    views = (
        f"{sys.executable} -m alexnet_jax evaluate --workdir={trained} --config.data.cache_dir={cache_dir}"
    )
    printed = launch(
        2, "bash", "-c", f"exec {views} --views=$((1 + 9 * JAX_PROCESS_ID))", devices=2, status=2
    )
    assert "process 1 has --views = 10, process 0 has 1: start all processes alike" in printed


def test_all_processes_set_a_checkpoint_aside_that_one_cannot_read_back(cache_dir, tmp_path):
    script = """if True:
        import sys, jax
        from alexnet_jax.cli.main import main
        from alexnet_jax.training.checkpoint import Checkpoints
        verify = Checkpoints.verify
        def torn(self, step, record, **shapes):
            verify(self, step, record, **shapes)
            assert step != 10 or jax.process_index() == 0
        Checkpoints.verify = torn
        sys.exit(main(sys.argv[1:]))
    """
    run = ["train", *TRAIN[TRAIN.index("train") + 1 :], f"--workdir={tmp_path}"]
    settings = [f"--config.data.cache_dir={cache_dir}", "--config.mesh=(1, 2)", "--config.num_steps=20"]
    printed = launch(2, sys.executable, "-c", script, *run, *settings, devices=2)
    assert printed.count("checkpoint 10 is damaged and set aside as 10.damaged (another process") == 1
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"10.damaged", "20"}


def test_all_processes_skip_a_checkpoint_that_one_finds_damaged_and_resume_on_other_meshes(
    tiny, trained, cache_dir, tmp_path
):
    run = (*TRAIN, f"--workdir={tmp_path}", f"--config.data.cache_dir={cache_dir}")
    launch(2, *run, "--config.mesh=(1, 2)", "--config.num_steps=20", devices=2)
    shutil.rmtree(tmp_path / "checkpoints" / "20" / "opt_state" / "ocdbt.process_1")
    elsewhere = ["--config.mesh=(4, 2)", "--config.parallelism=one_weird_trick"]
    printed = launch(2, *run, *elsewhere, "--config.num_steps=21")
    assert "checkpoint 20 is damaged and skipped" in printed
    assert "resuming at step 10 of 21" in printed
    # One device of one process finishes the run. The checksums of its parameters are those that were written.
    train(tiny, str(tmp_path))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [x["step"] for x in lines if x["kind"] == "train"] == [10, 20, 21, 30, 40]
    ours, theirs = restore(tmp_path), restore(trained)
    assert ours.step == theirs.step == 40
    for mine, other in zip(jax.tree.leaves(ours.params), jax.tree.leaves(theirs.params), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-5)  # the same images in the same order


@pytest.mark.parametrize("which", ["jax.process_index() == 1", "True"])
def test_if_one_process_has_no_memory_all_print_its_line_and_resume_later(cache_dir, tmp_path, which):
    script = """if True:
        import sys, jax
        from alexnet_jax.cli.main import main
        from alexnet_jax.training import step
        train_step = step.train_step
        def build(*args):
            update, done = train_step(*args), 0
            def fail(*args):
                nonlocal done
                done += 1
                if done == 15 and (WHICH):
                    raise jax.errors.JaxRuntimeError(
                        "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 2.00GiB."
                    )
                return update(*args)
            return fail
        step.train_step = build
        sys.exit(main(sys.argv[1:]))
    """.replace("WHICH", which)
    run = ["train", *TRAIN[TRAIN.index("train") + 1 :], f"--workdir={tmp_path}"]
    settings = [f"--config.data.cache_dir={cache_dir}", "--config.mesh=(1, 2)", "--config.num_steps=20"]
    printed = launch(2, sys.executable, "-c", script, *run, *settings, devices=2, status=1)
    lines = [line for line in printed.splitlines() if "alexnet-jax: " in line]
    assert sorted(line[:4] for line in lines) == ["[0] ", "[1] "]
    assert lines[0][4:] == lines[1][4:]
    advice = "--config.accumulation_steps=2"
    assert f"out of memory on cpu: 2.15 GB needed: add {advice}, which leaves the update the same" in lines[0]
    assert "resuming at step 10 of 20" in launch(2, *TRAIN, *run[2:], *settings, advice, devices=2)


def test_different_configs_are_refused_by_name(cache_dir, tmp_path):
    def command(number):
        environment = os.environ | {
            "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
            "JAX_NUM_PROCESSES": "2",
            "JAX_PROCESS_ID": str(number),
            "JAX_NUM_CPU_DEVICES": "1",
        }
        flags = [
            f"--workdir={tmp_path / 'w'}",
            f"--config.data.cache_dir={cache_dir}",
            f"--config.seed={number}",
        ]
        return subprocess.Popen(
            [*TRAIN, *flags], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
        )

    port = free_port()
    both = [command(number) for number in (0, 1)]
    for process in both:
        _, printed = process.communicate(timeout=60)
        assert process.returncode == 2
        assert "process 1 has seed = 1, process 0 has 0: start all processes alike" in printed
    assert not (tmp_path / "w").exists()


def test_two_processes_start_from_another_network_with_one_new_layer(
    trained, five_classes, cache_dir, tmp_path
):
    """Each process has a tower. The new layer has the same values as with one process."""
    settings = (
        *(f"--config.data.cache_dir={cache_dir}", f"--config.init_from={trained}", "--config.num_steps=1"),
        *(f"--config.data.source={five_classes}", "--config.optimizer.learning_rate=0.0"),
    )
    for name, processes in (("one", 1), ("two", 2)):
        command = (*TRAIN, f"--workdir={tmp_path / name}", f"--config.mesh=(1, {processes})", *settings)
        printed = launch(processes, *command, devices=processes)
        assert printed.count("fc8 is re-initialised (5 classes instead of 10)") == 1
    one, two = (restore(tmp_path / name).params for name in ("one", "two"))
    for ours, theirs in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(two["conv1"]["kernel"], restore(trained).params["conv1"]["kernel"])


def test_a_busy_workdir_is_refused_by_all_processes_alike(cache_dir, tmp_path):
    flags = (f"--workdir={tmp_path}", f"--config.data.cache_dir={cache_dir}", "--config.mesh=(2, 1)")
    with locked(tmp_path / "lock", lambda: None):
        printed = launch(2, *TRAIN, *flags, devices=2, status=2)
    assert printed.count(f"another process trains in {tmp_path}") == 2
