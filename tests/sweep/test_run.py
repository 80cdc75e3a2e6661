"""Running a sweep: its results, failures, repeated runs and interruptions. The networks are real but tiny."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from alexnet_jax import get_config, restore
from alexnet_jax.cli.main import main
from alexnet_jax.loops.train import train
from alexnet_jax.sweep import slots
from alexnet_jax.sweep.processes import Processes
from tests.sweep.conftest import (
    SWEEP,
    TINY,
    bytes_of,
    ended,
    evaluation,
    refused,
    run,
    start,
    words,
    write_sweep,
)

pytestmark = pytest.mark.slow


def test_index_runs_one_task_and_the_sweep_does_not_repeat_it(swept):
    for job, line in zip(
        swept.jobs, ("[--index=0 of 6] base, seed 0", "[--index=3 of 6] base, seed 1"), strict=True
    ):
        assert (job.status, job.err) == (0, "")
        assert f"{line}: alexnet-jax train --config=" in job.out
        assert job.out.count(" of 6] ") == 2  # to train, and to test
        assert f"{line}: already done" in swept.whole.out
    assert {p.relative_to(swept.workdir).parts[0] for p in swept.after_jobs} == {"base-seed0", "base-seed1"}
    now = bytes_of(swept.workdir)
    assert {path: now[path] for path in swept.after_jobs} == swept.after_jobs


def test_the_table_has_the_errors_of_the_evaluations(swept):
    found = json.loads((swept.workdir / "table.json").read_text())
    rows = {row["name"]: row for row in found["rows"]}
    assert list(rows) == ["base", "tuned*", "too fast", "all of them"]
    assert found["baseline"] == "base"
    for key in ("top1", "top5"):
        errors = {
            name: np.array(
                [100 * evaluation(swept.workdir, f"{name}-seed{s}")[f"{key}_error"] for s in (0, 1)]
            )
            for name in ("base", "tuned-star")
        }
        base, other = errors["base"], errors["tuned-star"]
        assert rows["base"][key]["each"] == base.tolist()
        assert rows["base"][key]["mean"] == pytest.approx(base.mean())
        assert rows["base"][key]["std"] == pytest.approx(base.std(ddof=1))
        assert rows["base"][key]["change"] is rows["base"][key]["change_standard_error"] is None
        assert rows["tuned*"][key]["change"] == pytest.approx(other.mean() - base.mean())
        assert rows["tuned*"][key]["change_standard_error"] == pytest.approx(
            np.sqrt(other.var(ddof=1) / 2 + base.var(ddof=1) / 2)
        )
        ensemble = 100 * evaluation(swept.workdir, "all-of-them")[f"{key}_error"]
        assert rows["all of them"][key]["mean"] == pytest.approx(ensemble)
        assert rows["all of them"][key]["change"] == pytest.approx(ensemble - base.mean())
        assert rows["all of them"][key]["change_standard_error"] is None
    assert rows["base"]["split_views_examples"] == ["test", 1, 360]
    names = [Path(each["workdir"]).name for each in evaluation(swept.workdir, "all-of-them")["checkpoints"]]
    assert names == ["base-seed0", "base-seed1", "tuned-star-seed0", "tuned-star-seed1"]


def test_the_printed_table_and_table_md_agree(swept):
    base = [100 * evaluation(swept.workdir, f"base-seed{seed}")["top1_error"] for seed in (0, 1)]
    text = f"{np.mean(base):.2f} ± {np.std(base, ddof=1):.2f}"
    (line,) = [line for line in swept.whole.out.splitlines() if line.startswith("base ")]
    assert text in line
    assert line.endswith("40.7 / 18.2  a set")
    (line,) = [x for x in (swept.workdir / "table.md").read_text().splitlines() if x.startswith("| base ")]
    assert f"| {text} |" in line
    assert line.endswith("| 40.7 / 18.2 | a set |")
    assert "+1.4 / -" in swept.whole.out
    assert "Errors on 360 images of test, 1 view(s)" in swept.whole.out
    assert swept.whole.out.endswith(f"written to {swept.workdir}/table.md and table.json\n")


def test_a_network_that_fails_is_reported_and_the_others_run(swept):
    assert swept.whole.status == 1
    assert "[--index=2 of 6] too fast, seed 0: failed: the loss is nan at step" in swept.whole.out
    assert "failed: too-fast-seed0: the loss is nan at step" in (swept.workdir / "table.md").read_text()
    (row,) = [x for x in json.loads((swept.workdir / "table.json").read_text())["rows"] if x["failed"]]
    assert row["name"] == "too fast"
    assert row["top1"] is None
    assert row["failed"]["too-fast-seed0"].startswith("the loss is nan")
    assert "Traceback" not in swept.whole.err


def test_init_from_takes_the_parameters_of_the_same_seed(swept):
    for seed in (0, 1):
        base, tuned = (restore(swept.workdir / f"{name}-seed{seed}") for name in ("base", "tuned-star"))
        assert tuned.config.init_from == str(swept.workdir / f"base-seed{seed}")
        assert tuned.config.seed == base.config.seed == seed
        for ours, theirs in zip(jax.tree.leaves(tuned.params), jax.tree.leaves(base.params), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_finished_tasks_are_skipped_and_failed_tasks_run_again(swept):
    before = bytes_of(swept.workdir)
    again = run(swept.args)
    assert again.status == 1
    assert again.out.count("already done") == 5
    assert "[--index=2 of 6] too fast, seed 0: alexnet-jax train" in again.out
    after = bytes_of(swept.workdir)
    assert {path for path in after if before.get(path) != after[path]} <= {
        *(swept.workdir / "too-fast-seed0").glob("*")
    }


def test_a_refused_training_keeps_the_result_and_a_refused_test_deletes_it(
    moved, tmp_path, cache_dir, monkeypatch
):
    """The result is always that of the current network."""
    moved.write_text(moved.read_text().replace('"num_steps": 10', '"num_steps": 20'))
    args = words(moved, tmp_path / "sweep", cache_dir, "--index=0")
    before = evaluation(tmp_path / "sweep", "base-seed0")
    statuses = {"train": 2, "evaluate": 2}
    monkeypatch.setattr(Processes, "run", lambda self, verb, *_: (statuses[verb], "not like this"))
    assert main(args) == 1
    assert evaluation(tmp_path / "sweep", "base-seed0") == before
    statuses["train"] = 0
    assert main(args) == 1
    assert not (tmp_path / "sweep" / "base-seed0" / "evaluation.json").exists()
    assert (tmp_path / "sweep" / "base-seed0" / "failed.txt").read_text() == "not like this\n"


def test_a_task_is_refused_before_the_tasks_that_it_needs(tmp_path, cache_dir, capfd):
    args = words(write_sweep(tmp_path / "mine.py", SWEEP), tmp_path / "sweep", cache_dir)
    assert "--index=1 (tuned*, seed 0) needs base-seed0: run those first" in refused(
        capfd, [*args, "--index=1"]
    )
    needs = "base-seed0, base-seed1, tuned-star-seed0, tuned-star-seed1"
    assert f"--index=5 (all of them) needs {needs}: run those first" in refused(capfd, [*args, "--index=5"])


def test_two_sweeps_at_once_train_each_network_once(tmp_path, cache_dir):
    text = "(Member('base', TINY), Member('tuned', TINY, {'num_steps': 1}, init_from='base'))"
    args = words(write_sweep(tmp_path / "mine.py", text), tmp_path / "sweep", cache_dir)
    both = [ended(sweep) for sweep in [start(args), start(args)]]
    assert [sweep.status for sweep in both] == [0, 0], both
    output = "".join(sweep.out for sweep in both)
    assert output.count(": alexnet-jax train --config=") == 2
    assert "failed" not in output


def wait_for_step(workdir, step, process):
    """Wait until the training has logged this step or a later one. Return the last step that it logged."""
    while process.poll() is None:
        metrics = workdir / "metrics.jsonl"
        lines = metrics.read_text().splitlines()[:-1] if metrics.exists() else []
        steps = [json.loads(line)["step"] for line in lines]
        if steps and steps[-1] >= step:
            return steps[-1]
        time.sleep(0.02)
    raise AssertionError(process.communicate())


def test_a_sweep_that_is_stopped_or_killed_resumes_to_the_same_bits(tmp_path, cache_dir):
    settings = {"num_steps": 1000, "checkpoint_every": 100000, "eval_every": 100000}
    file = write_sweep(tmp_path / "mine.py", f"(Member('base', TINY, {settings}),)")
    args, net = words(file, tmp_path / "sweep", cache_dir), tmp_path / "sweep" / "base-seed0"

    sweep = start(args)
    wait_for_step(net, 10, sweep)
    sweep.send_signal(signal.SIGTERM)
    out, err = sweep.communicate(timeout=60)
    assert sweep.returncode == 143, err
    saved = restore(net).step
    assert 10 <= saved < 1000
    assert f"saved at step {saved} of 1000" in err
    last = err.splitlines()[-1]
    assert last.startswith("alexnet-jax: SIGTERM: train stopped with status")
    assert f"resume with: alexnet-jax sweep --config={file} --workdir={tmp_path / 'sweep'}" in last
    assert "Traceback" not in err

    sweep = start(args)  # as a scheduler does: SIGTERM to all processes
    wait_for_step(net, saved + 10, sweep)
    threads = Path(f"/proc/{sweep.pid}/task").glob("*/children")
    (training,) = "".join(thread.read_text() for thread in threads).split()
    os.kill(int(training), signal.SIGTERM)
    time.sleep(0.05)
    sweep.send_signal(signal.SIGTERM)
    out, err = sweep.communicate(timeout=60)
    assert sweep.returncode == 143, err
    assert f"resuming at step {saved} of 1000" in out
    saved, before = restore(net).step, saved
    assert before < saved < 1000

    sweep = start(args)
    wait_for_step(net, saved + 10, sweep)
    sweep.kill()
    done = run(args)  # waits for the training of the killed sweep, which keeps running
    sweep.communicate()
    assert done.status == 0, done.err
    assert "waiting for a training that is running" in done.out
    config = get_config(TINY)
    config.update_from_flattened_dict(settings | {"data.cache_dir": cache_dir})
    train(config, str(tmp_path / "undisturbed"))
    ours, theirs = restore(net), restore(tmp_path / "undisturbed")
    assert ours.step == theirs.step == 1000
    for one, other in zip(jax.tree.leaves(ours.params), jax.tree.leaves(theirs.params), strict=True):
        np.testing.assert_array_equal(one, other)


def test_trainings_at_the_same_time_all_save_when_the_sweep_is_stopped(
    tmp_path, cache_dir, capfd, monkeypatch
):
    monkeypatch.setattr(slots, "cores", lambda: 2)
    settings = {"num_steps": 100000, "checkpoint_every": 100000, "eval_every": 100000}
    file = write_sweep(tmp_path / "mine.py", f"(Member('base', TINY, {settings}),), seeds=(0, 1)")
    args = words(file, tmp_path / "sweep", cache_dir)
    nets = [tmp_path / "sweep" / f"base-seed{seed}" for seed in (0, 1)]

    def stop():
        for net in nets:
            while not (net / "metrics.jsonl").exists():
                time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop, daemon=True).start()
    assert main(args) == 143
    out, err = capfd.readouterr()
    assert err.startswith("alexnet-jax: SIGTERM: train stopped with status 130 (SIGINT: saved at step ")
    assert err.count("\n") == 1
    assert "2 tasks at a time" in out
    assert {"[0]", "[1]"} <= {line.partition(" ")[0] for line in out.splitlines()}
    assert all(restore(net).step > 0 for net in nets)
