"""A run from beginning to end: its files, how it stops, and that a resumed run gives the same result."""

import dataclasses
import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

import alexnet_jax
from alexnet_jax import files, restore
from alexnet_jax.cli.main import main
from alexnet_jax.config import saved
from alexnet_jax.errors import RunError
from alexnet_jax.files import absolute
from alexnet_jax.loops import train as train_lib
from alexnet_jax.loops.train import train
from alexnet_jax.training.checkpoint import Checkpoints
from alexnet_jax.training.optimizer import OPTIMIZERS
from alexnet_jax.training.workdir import read_workdir
from alexnet_jax.variants import batch_norm
from tests.conftest import RECIPES

GOODPUT = (
    r"goodput: [\d.]+% of [\dhms. ]+ in steps; starting [\d.]+%, preparing the data [\d.]+%,"
    r" compiling [\d.]+%, waiting for data [\d.]+%, evaluating [\d.]+%, saving [\d.]+%"
)


def lines(workdir, kind):
    records = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [record for record in records if record["kind"] == kind]


def without_speed(workdir):
    """Return the lines of a log without the fields that no two runs have in common."""
    records = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [{key: value for key, value in r.items() if not key.endswith("_per_second")} for r in records]


def same_bits(a, b):
    one, other = restore(a), restore(b)
    assert one.step == other.step
    for ours, theirs in zip(jax.tree.leaves(one.params), jax.tree.leaves(other.params), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_evaluations_take_as_many_images_at_a_time_as_a_step(tiny, tmp_path, monkeypatch):
    sizes, error_rates = set(), train_lib.error_rates
    monkeypatch.setattr(train_lib, "error_rates", lambda *args: sizes.add(args[4]) or error_rates(*args))
    tiny.accumulation_steps, tiny.num_steps = tiny.batch_size // 4, 2
    train(tiny, tmp_path / "w")
    assert sizes == {4}


def test_the_last_line_of_a_run_is_a_command_that_works(tiny, five_classes, tmp_path, capfd):
    tiny.data.source, tiny.data.validation, tiny.schedule.name = five_classes, 0.0, "steps"
    tiny.num_steps, tiny.data.cache_dir = 1, str(tmp_path / "cache")
    train(tiny, tmp_path / "w")
    _, _, command = capfd.readouterr().out.splitlines()[-1].partition("evaluate with: alexnet-jax ")
    assert main(shlex.split(command)) == 0


def test_a_workdir_holds_the_documented_files(trained):
    names = {path.name.partition(".tfevents")[0] for path in trained.iterdir()}
    assert names == {
        "config.json",
        "data.json",
        "mean_image.npy",
        "checkpoints",
        "metrics.jsonl",
        "goodput.json",
        "events.out",
        "lock",
    }
    (*_, last) = lines(trained, "train")
    assert set(last) == {
        "kind", "step", "epoch", "loss", "top1_error", "learning_rate", "images_per_second",
        "flops_per_second", "mfu",
    }  # fmt: skip
    assert [record["step"] for record in lines(trained, "train")] == [10, 20, 30, 40]
    assert last["epoch"] == pytest.approx(40 / 80)
    # the boundary at epoch 0.3 is step 24, in the middle of an interval; a line has the last learning rate
    assert [r["learning_rate"] for r in lines(trained, "train")] == pytest.approx([0.02, 0.02, 0.002, 0.002])
    evals = lines(trained, "eval")
    assert [record["step"] for record in evals] == [20, 40]
    assert {"split", "views", "examples", "loss", "top1_error", "top5_error"} < set(evals[0])
    assert (evals[0]["split"], evals[0]["examples"]) == ("validation", 144)
    assert all(0 <= record["top5_error"] <= record["top1_error"] <= 1 for record in evals)
    layers = lines(trained, "layers")[0]["layers"]
    assert set(layers) == {"conv1", "conv2", "fc6", "fc8"}
    assert layers["conv1"]["weights"] == pytest.approx(0.08, rel=0.2)
    assert json.loads((trained / "config.json").read_text())["net"]["layers"][0]["type"] == "Conv"


def test_a_run_learns(tiny, tmp_path):
    tiny.num_steps = tiny.eval_every = 600
    tiny.schedule.boundaries = (6.0,)
    tiny.checkpoint_every = 600
    train(tiny, str(tmp_path))
    assert lines(tmp_path, "eval")[-1]["top1_error"] < 0.3


def test_stopped_and_resumed_is_the_same_run(tiny, trained, tmp_path, capsys):
    tiny.num_steps = 30
    train(tiny, str(tmp_path))
    tiny.num_steps = 40
    train(tiny, str(tmp_path))
    same_bits(trained, tmp_path)
    said = capsys.readouterr().out
    assert "resuming at step 30 of 40" in said
    assert "changed: num_steps: 30 -> 40" in said
    steps = [record["step"] for record in lines(tmp_path, "train")]
    assert steps == [10, 20, 30, 40]
    train(tiny, str(tmp_path))
    assert "is trained to its end, step 40" in capsys.readouterr().out


def test_repeated_steps_are_logged_once(tiny, trained, tmp_path):
    tiny.checkpoint_every = 25
    tiny.eval_every = 35
    tiny.num_steps = 25
    train(tiny, str(tmp_path))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"kind": "later", "step": 30}) + "\n" + '{"kind": "tra')
    tiny.num_steps = 40
    train(tiny, str(tmp_path))
    assert [record["step"] for record in lines(tmp_path, "train")] == [10, 20, 25, 30, 40]
    same_bits(trained, tmp_path)


def test_the_log_does_not_depend_on_interruptions(tiny, trained, tmp_path, monkeypatch):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    stops = sorted(random.Random(seed).sample(range(1, 40), 3))
    batches = train_lib.training_batches

    def until_the_next_stop(cache, config, mesh, step, total_steps):
        for batch in batches(cache, config, mesh, step, total_steps):
            if stops and step >= stops[0]:
                del stops[0]
                raise KeyboardInterrupt
            yield batch
            step += 1

    monkeypatch.setattr(train_lib, "training_batches", until_the_next_stop)
    tiny.checkpoint_every = 3
    while stops:
        with pytest.raises(KeyboardInterrupt):
            train(tiny, str(tmp_path))
    train(tiny, str(tmp_path))
    assert without_speed(tmp_path) == without_speed(trained)


def test_a_run_ends_with_its_goodput_and_a_workdir_adds_up_that_of_its_runs(tiny, tmp_path, capsys):
    spent = [0.0]
    for steps in (15, 20):
        tiny.num_steps = steps
        train(tiny, str(tmp_path))
        goodput, done = capsys.readouterr().out.splitlines()[-2:]
        assert re.fullmatch(GOODPUT, goodput)
        shares = [float(share) for share in re.findall(r"([\d.]+)%", goodput)]
        assert sum(shares) == pytest.approx(100, abs=0.5)
        assert done.startswith(f"done: {steps} steps")
        found = json.loads((tmp_path / "goodput.json").read_text())["seconds"]
        assert all(found[kind] > 0 for kind in ("steps", "starting", "compiling", "evaluating", "saving"))
        spent.append(sum(found.values()))
    assert spent == sorted(set(spent))
    train(tiny, str(tmp_path))
    assert "goodput" not in capsys.readouterr().out  # it has trained to its end before
    assert sum(json.loads((tmp_path / "goodput.json").read_text())["seconds"].values()) == spent[-1]


def test_damaged_times_neither_end_a_run_nor_change_it(tiny, trained, tmp_path, capsys):
    tiny.num_steps = 20
    train(tiny, str(tmp_path))
    (tmp_path / "goodput.json").write_text("{")
    tiny.num_steps = 40
    train(tiny, str(tmp_path))
    assert "note: goodput.json: Expecting property name" in capsys.readouterr().out
    same_bits(trained, tmp_path)
    assert without_speed(tmp_path) == without_speed(trained)


def test_a_log_on_a_full_disk_ends_the_run_after_saving(tiny, trained, tmp_path, monkeypatch):
    open_append = files.open_append

    def full_after_step_20(path):
        full = path.name == "metrics.jsonl" and path.exists() and '"step": 20' in path.read_text()
        return open_append(Path("/dev/full") if full else path)

    monkeypatch.setattr(files, "open_append", full_after_step_20)
    reason = r"metrics\.jsonl can't be written \(No space left on device\); the run is saved at step 20 of 40"
    with pytest.raises(RunError, match=reason):
        train(tiny, str(tmp_path))
    monkeypatch.undo()
    train(tiny, str(tmp_path))
    same_bits(trained, tmp_path)


def test_a_loss_that_is_not_finite_keeps_the_last_good_checkpoint(tiny, tmp_path):
    tiny.num_steps = 20
    train(tiny, str(tmp_path))
    tiny.num_steps = 60
    tiny.optimizer.learning_rate = 1e6
    tiny.schedule.boundaries = ()
    with pytest.raises(RunError, match=r"the loss is (nan|inf) at step 2\d"):
        train(tiny, str(tmp_path))
    with Checkpoints(absolute(tmp_path)) as checkpoints:
        assert checkpoints.steps() == [10, 20]
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(jax.device_get(restore(tmp_path).params)))


@pytest.fixture
def out_of_memory(monkeypatch):
    """A function that makes the update of one step raise the error of a GPU without free memory."""
    train_step = train_lib.step_lib.train_step

    def simulate(at, error="Out of memory while trying to allocate 4770354232 bytes."):
        def build(*args):
            update = train_step(*args)

            def fail(state, *rest):
                if int(state.step) == at:
                    raise jax.errors.JaxRuntimeError(f"RESOURCE_EXHAUSTED: {error}")
                return update(state, *rest)

            return fail

        monkeypatch.setattr(train_lib.step_lib, "train_step", build)

    return simulate


def test_the_advice_for_a_batch_that_does_not_fit_works(tiny, tmp_path, out_of_memory, monkeypatch):
    out_of_memory(at=0)
    advice = (
        "add --config.accumulation_steps=2, which leaves the update the same,"
        " or try --config.batch_size=8 and another --workdir, or use more devices"
    )
    with pytest.raises(RunError, match=rf"^out of memory on cpu: 4.77 GB needed: {advice}$"):
        train(tiny, str(tmp_path))
    monkeypatch.undo()
    tiny.accumulation_steps, tiny.num_steps = 2, 2
    assert train(tiny, str(tmp_path)).step == 2


def test_the_advice_follows_from_the_memory_that_is_available(tiny, tmp_path, out_of_memory):
    """4 GB are needed and 1 GB is available: at most 3 of the 16 images fit, with a reserve."""
    out_of_memory(at=0, error="Allocating 4000000000 bytes exceeds the memory limit of 1000000000 bytes.")
    advice = "add --config.accumulation_steps=8, .* or try --config.batch_size=3 and another --workdir"
    with pytest.raises(RunError, match=rf"^out of memory on cpu: 4 GB needed, 1 GB available: {advice}"):
        train(tiny, str(tmp_path))


def test_a_batch_that_can_not_be_split_has_to_be_smaller(tiny, tmp_path, out_of_memory, monkeypatch):
    batch_norm(tiny)  # over the whole batch
    out_of_memory(at=0)
    advice = "try --config.batch_size=8 and another --workdir, or more devices"
    with pytest.raises(RunError, match=rf"^out of memory on cpu: 4.77 GB needed: {advice}$"):
        train(tiny, str(tmp_path / "too_large"))
    monkeypatch.undo()
    tiny.batch_size, tiny.num_steps = 8, 2
    assert train(tiny, str(tmp_path / "smaller")).step == 2


def test_examples_one_at_a_time_need_more_devices(tiny, tmp_path, out_of_memory):
    tiny.accumulation_steps = tiny.batch_size
    out_of_memory(at=0)
    with pytest.raises(RunError, match=r"needed: use more devices, or devices with more memory$"):
        train(tiny, str(tmp_path))


def test_a_lack_of_memory_in_a_later_step_keeps_the_last_checkpoint(
    tiny, trained, tmp_path, out_of_memory, monkeypatch
):
    out_of_memory(at=15)
    with pytest.raises(RunError, match=r"4.77 GB needed: add --config.accumulation_steps=2, "):
        train(tiny, str(tmp_path))
    with Checkpoints(absolute(tmp_path)) as checkpoints:
        assert checkpoints.steps() == [10]
    monkeypatch.undo()
    train(tiny, str(tmp_path))
    same_bits(trained, tmp_path)


def test_parameters_that_do_not_fit_need_more_devices(tiny, tmp_path, monkeypatch):
    def fail(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 2000000000 bytes.")

    monkeypatch.setattr(train_lib, "new_state", fail)
    with pytest.raises(RunError, match=r"2 GB needed: use more devices, or devices with more memory$"):
        train(tiny, str(tmp_path))


def test_a_batch_that_cannot_be_smaller_needs_more_devices(tiny, tmp_path, out_of_memory):
    tiny.batch_size, tiny.mesh = 2, (2, 1)
    out_of_memory(at=0)
    with pytest.raises(RunError, match=r"4.77 GB needed: use more devices, or devices with more memory$"):
        train(tiny, str(tmp_path))


def test_plateau_resumes_with_its_state(tiny, tmp_path, capsys):
    """Its state is in the checkpoint, so the learning rate is reduced at the same steps."""
    tiny.schedule.name, tiny.schedule.patience, tiny.schedule.min_improvement = "plateau", 1, 0.9
    tiny.eval_every = tiny.checkpoint_every = 10
    for steps in (20, 90):
        tiny.num_steps = steps
        train(tiny, str(tmp_path))
    # no evaluation is an improvement of 0.9
    found = [record["learning_rate"] for record in lines(tmp_path, "train")]
    assert found == pytest.approx([0.02, 0.002, 0.0002, 0.00002])
    train(tiny, str(tmp_path))
    assert (
        "trained to its last plateau, step 40; to train for longer, change --config.schedule.*"
        in capsys.readouterr().out
    )
    tiny.schedule.max_reductions, tiny.num_steps = 9, 50
    train(tiny, str(tmp_path))
    assert lines(tmp_path, "train")[-1]["step"] == 50


@pytest.mark.parametrize("left", [[], ["data.json"], ["data.json", "mean_image.npy"], ["checkpoints"]])
def test_a_start_that_was_killed_can_be_started_again(tiny, trained, tmp_path, left):
    """A kill before the first checkpoint may leave any of these files; config.json is written last."""
    for name in left:
        (shutil.copytree if (trained / name).is_dir() else shutil.copy)(trained / name, tmp_path / name)
    if "checkpoints" in left:
        shutil.rmtree(tmp_path / "checkpoints")
        (tmp_path / "checkpoints" / "10.orbax-checkpoint-tmp").mkdir(parents=True)
    (tmp_path / "config.json.writing").write_text("{")
    train(tiny, str(tmp_path))
    same_bits(trained, tmp_path)


def test_the_last_change_is_logged_for_an_optimizer_without_state(tiny, tmp_path, monkeypatch):
    def down(config, decay, by_rates):
        return optax.chain(optax.stateless(lambda updates, _: jax.tree.map(jnp.ones_like, updates)), by_rates)

    monkeypatch.setitem(OPTIMIZERS, "momentum", down)
    tiny.num_steps = 2
    train(tiny, str(tmp_path))
    (record,) = lines(tmp_path, "layers")
    assert {name: of["steps"] for name, of in record["layers"].items()} == pytest.approx(
        dict.fromkeys(["conv1", "conv2", "fc6", "fc8"], 0.02), rel=1e-4
    )


def test_the_learning_rate_of_a_layer_may_change_when_a_run_resumes(tiny, tmp_path, capsys):
    tiny.num_steps = 10
    train(tiny, str(tmp_path))
    before = restore(tmp_path).params
    tiny.num_steps = 20
    tiny.optimizer.layers = ConfigDict({"conv1": {"learning_rate": 0.0, "bias_learning_rate": 0.0}})
    tiny.optimizer.momentum = 0.0
    train(tiny, str(tmp_path))
    after = restore(tmp_path).params
    np.testing.assert_array_equal(before["conv1"]["kernel"], after["conv1"]["kernel"])
    assert not np.array_equal(before["conv2"]["kernel"], after["conv2"]["kernel"])
    assert "changed: optimizer.layers.conv1.learning_rate: None -> 0.0" in capsys.readouterr().out


def command(workdir, cache_dir, *more):
    return [
        sys.executable, "-m", "alexnet_jax", "train", f"--config={RECIPES / 'tiny.py'}",
        f"--workdir={workdir}", f"--config.data.cache_dir={cache_dir}", *more,
    ]  # fmt: skip


def start(*args):
    return subprocess.Popen(command(*args), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_step(workdir, step, process):
    """Wait until the run has written a line of this step, or has ended."""
    while process.poll() is None:
        metrics = workdir / "metrics.jsonl"
        if metrics.exists() and f'"step": {step}' in metrics.read_text():
            return
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("signum", "status"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129), (signal.SIGUSR1, 138)],
)
def test_signals_save_and_print_how_to_resume(cache_dir, trained, tmp_path, signum, status):
    process = start(tmp_path, cache_dir, "--config.num_steps=100000", "--config.checkpoint_every=100000")
    wait_for_step(tmp_path, 20, process)
    process.send_signal(signum)
    out, err = process.communicate(timeout=60)
    assert process.returncode == status
    assert re.fullmatch(GOODPUT, out.splitlines()[-1])
    first, last = err.splitlines()
    assert first == f"{signum.name}: saving; a second signal stops at once"
    assert last.startswith(f"alexnet-jax: {signum.name}: saved at step ")
    assert f"resume with: alexnet-jax train --config={RECIPES / 'tiny.py'}" in err
    step = restore(tmp_path).step
    assert f"saved at step {step} " in err
    assert step not in (0, 100000)


@pytest.mark.parametrize("full", [False, True])
def test_a_standard_output_that_is_closed_or_full_does_not_stop_a_run(tmp_path, cache_dir, full):
    """Ctrl-C also ends a `tee` that reads the output."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed, Path("/dev/full").open("w") as full_disk:
        gone = full_disk if full else closed
        done = subprocess.run(command(tmp_path, cache_dir), stdout=gone, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert restore(tmp_path).step == 40


def test_the_config_of_a_workdir_is_that_of_the_run(trained, tiny):
    assert saved.changes(read_workdir(trained)[0], tiny) == []


def test_training_returns_the_last_step_and_result(trained, tiny, tmp_path):
    tiny.num_steps = 2
    done = alexnet_jax.train(tiny, tmp_path / "w")
    assert (done.workdir, done.step) == (str(tmp_path / "w"), 2)
    assert (done.result.split, done.result.examples) == ("validation", 144)
    assert dataclasses.replace(done, result=None) == alexnet_jax.train(tiny, tmp_path / "w")
    tiny.batch_size = 0
    with pytest.raises(alexnet_jax.UserError, match="batch_size"):
        alexnet_jax.train(tiny, tmp_path / "other")
    assert not (tmp_path / "other").exists()
