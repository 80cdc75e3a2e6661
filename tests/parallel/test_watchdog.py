"""A run in which something has stopped is saved if possible, and ends with one line and status 75."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future

import pytest

from alexnet_jax import restore
from alexnet_jax.errors import Stopped
from alexnet_jax.parallel import hosts, peers, watchdog
from alexnet_jax.parallel.watchdog import Watchdog
from alexnet_jax.training.goodput import Goodput
from tests.conftest import RECIPES, ROOT, launch

LIMIT = 10.0


@pytest.mark.parametrize("what", list(watchdog._STOPPED))
def test_only_a_wait_that_is_too_long_is_found(what):
    dog = Watchdog(LIMIT)
    assert dog.count(100 * LIMIT) is None  # nothing is waited for
    for _ in range(5):
        dog.waits_for(what)
        assert dog.count(0.9 * LIMIT) is None
    assert dog.count(0.2 * LIMIT).what == what


def test_a_step_waits_longer_if_another_process_may_have_stopped(monkeypatch):
    monkeypatch.setattr(peers, "several", lambda: True)
    for what, found in (("batch", True), ("step", False)):
        dog = Watchdog(LIMIT)
        dog.waits_for(what)
        assert (dog.count(1.05 * LIMIT) is not None) == found


def test_a_writer_in_the_background_is_found_while_the_steps_continue():
    dog, done, dead = Watchdog(LIMIT), Future(), Future()
    dog.writes("checkpoint", done)
    dog.writes("log", dead)
    dog.waits_for("step")
    assert dog.count(0.6 * LIMIT) is None
    done.set_result(None)
    dog.waits_for("step")
    assert dog.count(0.6 * LIMIT).what == "log"


def test_what_is_nested_begins_anew_at_its_end():
    with watchdog.watching(LIMIT / 60, lambda: None):
        watchdog.waits_for("step")
        with watchdog.waiting_for("log"):
            assert watchdog.waits_for("log") == "log"
        assert watchdog.waits_for(None) == "step"
    assert watchdog.waits_for("step") is None


def test_compiling_and_a_terminal_that_is_stopped_do_not_count(monkeypatch):
    waits = []
    monkeypatch.setattr(hosts.progress, "say", lambda line: waits.append(watchdog.waits_for(None)))
    update = Goodput().compiling(hosts.progress.say)
    with watchdog.watching(LIMIT / 60, lambda: None):
        for function in (hosts.say, update, update):
            watchdog.waits_for("step")
            function("a line")
    assert waits == [None, None, "step"]


@pytest.mark.parametrize("minutes", [0, 1])
def test_a_limit_of_0_is_none(minutes):
    with watchdog.watching(minutes, lambda: None):
        assert any(thread.name == "watchdog" for thread in threading.enumerate()) == (minutes > 0)


@pytest.fixture
def ended(monkeypatch):
    """The (status, message) of each end of a run."""
    found = []
    monkeypatch.setattr(peers, "abort", lambda *args: found.append(args))
    monkeypatch.setattr(os, "_exit", lambda status: None)
    return found


def end(dog, what):
    """Let a wait be too long, and end the run."""
    dog.waits_for(what)
    dog.end(dog.count(2 * LIMIT))


def test_the_line_names_what_has_stopped_since_when_and_what_to_do(ended):
    end(Watchdog(LIMIT), "step")
    ((status, message),) = ended
    assert status == Stopped.status == 75
    assert re.sub(r"\d", "0", message) == (
        "a step has not ended for 0.000 minutes, since 0000-00-00 00:00:00; earlier checkpoints are kept:"
        " check the devices, or raise --config.step_timeout_minutes if a step may take as long, and run the"
        " same command again to resume"
    )


def test_the_line_of_an_evaluation_speaks_of_no_run(ended):
    end(Watchdog(LIMIT, check=None), "evaluation batch")
    ((status, message),) = ended
    assert status == 75
    assert re.sub(r"\d", "0", message) == (
        "the loader has delivered no batch for an evaluation for 0.000 minutes, since 0000-00-00 00:00:00:"
        " check the disk of the cache, and run the same command again"
    )


@pytest.mark.parametrize(
    ("what", "several", "fails", "saved"),
    [
        ("batch", False, False, True),
        ("log sync", False, False, True),
        ("batch", False, True, False),
        ("batch", True, False, False),  # all processes must save together
        ("step", False, False, False),
        ("checkpoint", False, False, False),
    ],
)
def test_a_run_is_saved_between_steps(what, several, fails, saved, ended, monkeypatch):
    def save():
        if fails:
            raise OSError("the disk is full")
        return 12

    monkeypatch.setattr(peers, "several", lambda: several)
    dog = Watchdog(LIMIT)
    dog.save = save
    end(dog, what)
    ((_, message),) = ended
    assert ("the run is saved at step 12" if saved else "earlier checkpoints are kept") in message


def test_a_run_that_must_not_write_any_more_is_not_saved(ended):
    def check():
        raise OSError("another run has taken over")

    dog = Watchdog(LIMIT, check)
    dog.save = lambda: 12
    end(dog, "batch")
    assert "earlier checkpoints are kept" in ended[0][1]


# ---- Training in processes of their own ---------------------------------------------------------

SCRIPT = """
import os, sys, threading
from alexnet_jax.cli.main import main

calls = 0

def block(*args):
    threading.Event().wait()

def blocks_at(call, function):
    "Return a function that never returns from one of its calls and all later ones."
    def wrapped(*args):
        global calls
        calls += 1
        if calls >= call:
            block()
        return function(*args)
    return wrapped

{}
sys.exit(main(sys.argv[1:]))
"""

LOADER = """
from alexnet_jax.data.stored import Images
from alexnet_jax.training.log import Log
trains, log, read = threading.Event(), Log.train, Images.read
Log.train = lambda *args, **values: (log(*args, **values), trains.set())
Images.read = lambda *args: block() if trains.is_set() else read(*args)
"""
STEP = """
import jax
from alexnet_jax.training import step as step_lib

def blocking(update):
    @jax.jit
    def call(state, *others):
        state, metrics = update(state, *others)
        late = jax.pure_callback(blocks_at(20, lambda x: x), metrics["loss"], metrics["loss"])
        return state, metrics | {"loss": late}
    return call

made = step_lib.train_step
step_lib.train_step = lambda *args: blocking(made(*args))
"""
LOG = """
from alexnet_jax import files
files.open_append = blocks_at(10, files.open_append)
"""
CHECKPOINT = """
from alexnet_jax.training.checkpoint_writer import CheckpointWriter
CheckpointWriter._verify = block
"""
BUCKET = """
from alexnet_jax.training import appended
appended.PERIOD = 0.0
appended.Appended._write = blocks_at(10, appended.Appended._write)
"""


def command(prepare, workdir, cache_dir):
    """Return a command that executes some lines, and trains with a limit of six seconds."""
    return [
        sys.executable, "-c", SCRIPT.replace("{}", prepare), "train", f"--config={RECIPES / 'tiny.py'}",
        f"--workdir={workdir}", f"--config.data.cache_dir={cache_dir}", "--config.num_steps=1000000",
        "--config.eval_every=1000000", "--config.checkpoint_every=1000", "--config.log_every=5",
        "--config.step_timeout_minutes=0.1",
    ]  # fmt: skip


def ends(prepare, workdir, cache_dir):
    """Train until the watchdog ends the process. Return the line that it prints."""
    done = subprocess.run(
        command(prepare, workdir, cache_dir), capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert done.returncode == 75, done.stderr
    (line,) = re.findall("^alexnet-jax: .*", done.stderr, re.MULTILINE)
    assert line.endswith(", and run the same command again to resume")
    return line


@pytest.mark.slow
def test_a_loader_that_blocks_is_reported_and_the_run_is_saved(tmp_path, cache_dir):
    line = ends(LOADER, tmp_path, cache_dir)
    assert line.startswith("alexnet-jax: the loader has delivered no batch for 0.1 minutes, since 20")
    step = restore(tmp_path).step
    assert step >= 5
    assert f"; the run is saved at step {step}: check the disk of the cache" in line
    logged = [json.loads(text) for text in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert logged[-1]["step"] == step - step % 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prepare", "what"),
    [
        (STEP, "a step has not ended"),
        (LOG, "the log has not been written"),
        (CHECKPOINT, "a checkpoint has not been written"),
    ],
    ids=["step", "log", "checkpoint"],
)
def test_a_step_or_a_writer_that_blocks_is_reported(prepare, what, tmp_path, cache_dir):
    line = ends(prepare, tmp_path, cache_dir)
    assert line.startswith(f"alexnet-jax: {what} for 0.1 minutes, since 20")
    assert "; earlier checkpoints are kept: check the " in line


EVALUATION_LOADER = """
from alexnet_jax.data.stored import Images
Images.read = blocks_at(3, Images.read)
"""
EVALUATION_STEP = """
import jax
from alexnet_jax.training import restored

def blocking(*args):
    def call(*args):
        return jax.pure_callback(late, jax.eval_shape(compute, *args), compute(*args))
    compute, late = made(*args), blocks_at(3, lambda x: x)
    return jax.jit(call, static_argnums=3)

made = restored.log_probabilities
restored.log_probabilities = blocking
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prepare", "what"),
    [
        (EVALUATION_LOADER, "the loader has delivered no batch for an evaluation"),
        (EVALUATION_STEP, "a step has not ended"),
    ],
    ids=["loader", "step"],
)
def test_an_evaluation_in_which_something_stops_is_ended(prepare, what, trained, cache_dir, tmp_path):
    done = subprocess.run(
        [
            sys.executable, "-c", SCRIPT.replace("{}", prepare), "evaluate", f"--workdir={trained}",
            f"--config.data.cache_dir={cache_dir}", "--config.step_timeout_minutes=0.1",
            f"--json={tmp_path / 'result.json'}",
        ],
        capture_output=True, text=True, cwd=ROOT, timeout=120,
    )  # fmt: skip
    assert done.returncode == 75, done.stderr
    (line,) = re.findall("^alexnet-jax: .*", done.stderr, re.MULTILINE)
    assert line.startswith(f"alexnet-jax: {what} for 0.1 minutes, since 20")
    assert line.endswith(", and run the same command again")
    assert not (tmp_path / "result.json").exists()


@pytest.mark.slow
def test_a_writer_of_the_log_that_blocks_in_the_background_lets_the_run_be_saved(bucket, cache_dir):
    line = ends(BUCKET, bucket, cache_dir)
    assert line.startswith("alexnet-jax: the log has not been written for 0.1 minutes, since 20")
    assert f"; the run is saved at step {restore(bucket).step}: " in line


@pytest.mark.slow
def test_a_process_that_was_suspended_continues(tmp_path, cache_dir):
    process = subprocess.Popen(
        command("", tmp_path, cache_dir), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    next(line for line in process.stdout if line.startswith("step 5 "))
    process.send_signal(signal.SIGSTOP)
    time.sleep(10)
    process.send_signal(signal.SIGCONT)
    time.sleep(2)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "SIGTERM: saved at step " in err


@pytest.mark.slow
def test_all_processes_end_with_the_line_of_the_one_that_has_stopped(tmp_path, cache_dir):
    prepare = "if os.environ['JAX_PROCESS_ID'] == '1':" + LOADER.replace("\n", "\n    ")
    out = launch(2, *command(prepare, tmp_path, cache_dir), "--config.mesh=(2, 1)", status=75, devices=2)
    lines = re.findall("alexnet-jax: .*", out)
    assert len(lines) == 2
    assert lines[0] == lines[1]
    assert lines[0].startswith("alexnet-jax: the loader has delivered no batch for 0.1 minutes, since 20")
    assert "earlier checkpoints are kept" in lines[0]
