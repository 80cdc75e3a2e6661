"""Sweeps: what they do, never do twice, survive, and refuse. The nets are real, and tiny."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from etils import epath

from alexnet_jax import UserError, get_config, restore
from alexnet_jax.cli.main import main
from alexnet_jax.config.validate import validate
from alexnet_jax.files import locked
from alexnet_jax.loops.train import train
from alexnet_jax.sweep import run as sweep_run
from alexnet_jax.sweep import spec as sweep_lib
from alexnet_jax.sweep import tasks as sweep_tasks
from tests.conftest import CONFIGS, RECIPES

pytestmark = pytest.mark.slow

TINY = str(RECIPES / "tiny.py")

# A net with the parameters of another, which it keeps (its rate is 0); one that fails; and an ensemble.
SWEEP = """
    (
        Member("base", TINY, {"num_steps": 10}, published=Published("a set", 40.7, 18.2)),
        Member(
            "tuned*", TINY, {"num_steps": 1, "optimizer.learning_rate": 0.0},
            init_from="base", published=Published("another", 1.4, worse=True),
        ),
        Member("too fast", TINY, {"optimizer.learning_rate": 1e9}, seeds=(0,)),
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
    """The line of a sweep that a user has to put right."""
    status = main(list(map(str, args)))
    err = capfd.readouterr().err
    assert status == 2, err
    assert err.count("\n") == 1
    assert err.startswith("alexnet-jax: ")
    return err


def bytes_of(workdir):
    """All that trainings and tests have written."""
    return {path: path.read_bytes() for path in workdir.glob("*/**/*") if path.is_file()}


def evaluation(workdir, name):
    return json.loads((workdir / name / "evaluation.json").read_text())


@pytest.fixture(scope="module")
def swept(tmp_path_factory, cache_dir):
    """A sweep of which two nets were done by their indices, at once, and then the rest."""
    workdir = tmp_path_factory.mktemp("swept")
    file = write_sweep(tmp_path_factory.mktemp("recipe") / "mine.py", SWEEP)
    args = words(file, workdir, cache_dir)
    jobs = [start([*args, f"--index={index}"]) for index in (0, 3)]
    jobs = [ended(job) for job in jobs]
    after_jobs = bytes_of(workdir)
    return SimpleNamespace(workdir=workdir, args=args, jobs=jobs, after_jobs=after_jobs, whole=run(args))


def test_by_index_one_is_done_alone_and_not_again_with_the_others(swept):
    for job, line in zip(
        swept.jobs, ("[--index=0 of 6] base, seed 0", "[--index=3 of 6] base, seed 1"), strict=True
    ):
        assert (job.status, job.err) == (0, "")
        assert f"{line}: alexnet-jax train --config=" in job.out
        assert job.out.count(" of 6] ") == 2  # to train, and to test
        assert f"{line}: done before" in swept.whole.out
    assert {p.relative_to(swept.workdir).parts[0] for p in swept.after_jobs} == {"base-seed0", "base-seed1"}
    now = bytes_of(swept.workdir)
    assert {path: now[path] for path in swept.after_jobs} == swept.after_jobs


def test_the_table_is_of_the_evaluations(swept):
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
        assert rows["base"][key]["deviation"] == pytest.approx(base.std(ddof=1))
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
    nets = [Path(net["workdir"]).name for net in evaluation(swept.workdir, "all-of-them")["checkpoints"]]
    assert nets == ["base-seed0", "base-seed1", "tuned-star-seed0", "tuned-star-seed1"]


def test_the_terminal_and_the_document_say_the_same(swept):
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
    assert swept.whole.out.endswith(f"{swept.workdir}/table.md and table.json hold it\n")


def test_a_net_that_fails_is_said_and_the_others_go_on(swept):
    assert swept.whole.status == 1
    assert "[--index=2 of 6] too fast, seed 0: failed: the loss is nan at step" in swept.whole.out
    assert "failed: too-fast-seed0: the loss is nan at step" in (swept.workdir / "table.md").read_text()
    (row,) = [x for x in json.loads((swept.workdir / "table.json").read_text())["rows"] if x["failed"]]
    assert row["name"] == "too fast"
    assert row["top1"] is None
    assert row["failed"]["too-fast-seed0"].startswith("the loss is nan")
    assert "Traceback" not in swept.whole.err


def test_a_net_begins_with_anothers_parameters_of_its_own_seed(swept):
    for seed in (0, 1):
        base, tuned = (restore(swept.workdir / f"{name}-seed{seed}") for name in ("base", "tuned-star"))
        assert tuned.config.init_from == str(swept.workdir / f"base-seed{seed}")
        assert tuned.config.seed == base.config.seed == seed
        for ours, theirs in zip(jax.tree.leaves(tuned.params), jax.tree.leaves(base.params), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_what_is_done_is_not_done_again_and_what_failed_is_tried_again(swept):
    before = bytes_of(swept.workdir)
    again = run(swept.args)
    assert again.status == 1
    assert again.out.count("done before") == 5
    assert "[--index=2 of 6] too fast, seed 0: alexnet-jax train" in again.out
    after = bytes_of(swept.workdir)
    assert {path for path in after if before.get(path) != after[path]} <= {
        *(swept.workdir / "too-fast-seed0").glob("*")
    }


def test_where_the_data_lies_makes_no_other_sweep(swept, tmp_path, capfd):
    """As array jobs have it, each on a disk of its own machine."""
    main([*swept.args, f"--config.data.cache_dir={tmp_path}", "--index=0"])
    assert "[--index=0 of 6] base, seed 0: done before" in capfd.readouterr().out


@pytest.fixture
def moved(swept, tmp_path):
    """The same sweep at another place, whose file may be changed."""
    shutil.copytree(swept.workdir, tmp_path / "sweep")
    return write_sweep(tmp_path / "mine.py", SWEEP)


def listed(args, capfd):
    """What a dry run tells of each net."""
    assert main([*args, "--dry_run"]) == 0
    lines = [line.split("  ") for line in capfd.readouterr().out.splitlines()]
    return [line[1] for line in lines if line[0].isdigit()]


def test_a_sweep_that_was_moved_is_still_done(moved, tmp_path, cache_dir, capfd):
    net = tmp_path / "sweep" / "base-seed0" / "evaluation.json"
    args = words(moved, tmp_path / "sweep", cache_dir)
    net.unlink()
    assert run([*args, "--index=0"]).status == 0  # tested anew, from here
    assert str(tmp_path) in net.read_text()
    assert listed(args, capfd) == ["done", "done", "to do", "done", "done", "done"]


def test_a_later_end_is_not_done_before(moved, tmp_path, cache_dir, capfd):
    args = words(moved, tmp_path / "sweep", cache_dir)
    assert listed(args, capfd) == ["done", "done", "to do", "done", "done", "done"]
    moved.write_text(moved.read_text().replace('"num_steps": 10', '"num_steps": 20'))
    assert listed(args, capfd) == ["to do"] * 6  # the others began with base, or are of it
    longer = run([*args, "--index=0"])
    assert "resuming at step 10 of 20" in longer.out
    assert evaluation(tmp_path / "sweep", "base-seed0")["checkpoints"][0]["step"] == 20
    assert listed(args, capfd) == ["done", "holds another net", "to do", "to do", "to do", "to do"]
    base, tuned, _, ensemble = json.loads((tmp_path / "sweep" / "table.json").read_text())["rows"]
    assert base["top1"]["each"] == [100 * evaluation(tmp_path / "sweep", "base-seed0")["top1_error"]]
    assert base["failed"] == {"base-seed1": "it has num_steps = 10, not 20"}
    assert tuned["top1"] is None
    assert ensemble["top1"] is None
    assert "needs base-seed1, tuned-star-seed0, tuned-star-seed1: run those first" in refused(
        capfd, [*args, "--index=5"]
    )
    assert main([*args, "--index=1"]) == 1  # and trains nothing
    began = "began with base-seed0 at step 10, which is at step 20 now"
    assert f"tuned-star-seed0 holds a net that {began}: delete it" in capfd.readouterr().out


def test_a_refused_training_keeps_its_result_and_a_refused_test_does_not(
    moved, tmp_path, cache_dir, monkeypatch
):
    """What is left is always of the net that is there."""
    moved.write_text(moved.read_text().replace('"num_steps": 10', '"num_steps": 20'))
    args = words(moved, tmp_path / "sweep", cache_dir, "--index=0")
    before = evaluation(tmp_path / "sweep", "base-seed0")
    statuses = {"train": 2, "evaluate": 2}
    monkeypatch.setattr(sweep_run, "_command", lambda verb, *_: (statuses[verb], "not like this"))
    assert main(args) == 1
    assert evaluation(tmp_path / "sweep", "base-seed0") == before
    statuses["train"] = 0
    assert main(args) == 1
    assert not (tmp_path / "sweep" / "base-seed0" / "evaluation.json").exists()
    assert (tmp_path / "sweep" / "base-seed0" / "failed.txt").read_text() == "not like this\n"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            '{"num_steps": 10, "optimizer.learning_rate": 0.01}',
            "optimizer.bias_learning_rate = 0.02, not 0.01",
        ),
        ('{"num_steps": 5}', "num_steps = 10, not 5"),
        ('{"num_steps": 10, "batch_size": 8}', "batch_size = 16, not 8"),
    ],
)
def test_a_net_that_was_trained_otherwise_is_not_passed_off(
    moved, tmp_path, cache_dir, capfd, settings, said
):
    changed = SWEEP.replace('{"num_steps": 10}', settings).splitlines()
    write_sweep(moved, "\n".join(line for line in changed if "too fast" not in line))
    trained = restore(tmp_path / "sweep" / "base-seed0")
    assert main(words(moved, tmp_path / "sweep", cache_dir)) == 1
    out = capfd.readouterr().out
    assert f"base-seed0 holds a net with {said}: delete it, or name the new one" in out
    nets = ", ".join(f"{name}-seed{seed}" for name in ("base", "tuned-star") for seed in (0, 1))
    assert f"all of them: failed: needs {nets}, not trained" in out
    base, tuned, ensemble = json.loads((tmp_path / "sweep" / "table.json").read_text())["rows"]
    assert base["top1"] is None
    assert list(base["failed"]) == ["base-seed0", "base-seed1"]
    assert list(ensemble["failed"]) == ["all-of-them"]
    assert len(tuned["failed"]) == 2  # they began with others, too
    assert listed(words(moved, tmp_path / "sweep", cache_dir), capfd)[0] == "holds another net"
    assert restore(tmp_path / "sweep" / "base-seed0").step == trained.step
    write_sweep(moved, SWEEP)  # what was there is there still
    assert listed(words(moved, tmp_path / "sweep", cache_dir), capfd)[0] == "done"


def test_another_sweep_is_refused(moved, tmp_path, cache_dir, capfd):
    before = bytes_of(tmp_path), (tmp_path / "sweep" / "sweep.json").read_bytes()
    for args in (
        words(f"{moved}:variant", tmp_path / "sweep", cache_dir),
        words(moved, tmp_path / "sweep", cache_dir, "--config.num_steps=20"),
        words(moved, tmp_path / "sweep", cache_dir, "--config.data.source=folder:other"),
        words(write_sweep(tmp_path / "other.py", SWEEP), tmp_path / "sweep", cache_dir),
    ):
        err = refused(capfd, args)
        assert f"{tmp_path / 'sweep'} holds another sweep, mine.py, not " in err
    assert before == (bytes_of(tmp_path), (tmp_path / "sweep" / "sweep.json").read_bytes())


def test_a_trainings_workdir_is_refused(trained, tmp_path, cache_dir, capfd):
    before = sorted(trained.rglob("*"))
    args = words(write_sweep(tmp_path / "mine.py", SWEEP), trained, cache_dir)
    with locked(trained / "lock", lambda: pytest.fail("held")):  # while it is under way
        assert f"{trained} holds a training, not a sweep" in refused(capfd, args)
    assert sorted({*trained.rglob("*")} - {trained / "lock"}) == [p for p in before if p.name != "lock"]


def test_what_needs_others_waits_for_them(tmp_path, cache_dir, capfd):
    args = words(write_sweep(tmp_path / "mine.py", SWEEP), tmp_path / "sweep", cache_dir)
    assert "--index=1, tuned*, seed 0, needs base-seed0: run those first" in refused(
        capfd, [*args, "--index=1"]
    )
    needs = "base-seed0, base-seed1, tuned-star-seed0, tuned-star-seed1"
    assert f"--index=5, all of them, needs {needs}: run those first" in refused(capfd, [*args, "--index=5"])


def test_a_dry_run_writes_nothing(tmp_path, cache_dir, capfd):
    args = words(write_sweep(tmp_path / "mine.py", SWEEP), tmp_path / "sweep", cache_dir)
    assert listed(args, capfd) == ["to do"] * 6
    assert not (tmp_path / "sweep").exists()


def sweeps():
    """All of ours, by file and variant: a name that none has is answered with those there are."""
    for file in sorted(CONFIGS.glob("*.py")):
        if "def sweep(" in file.read_text():
            try:
                sweep_lib.load(f"{file}:no_such_sweep")
                yield str(file)
            except UserError as error:
                yield from (f"{file}:{name}" for name in str(error).partition("there are ")[2].split(", "))


@pytest.mark.parametrize("path", list(sweeps()), ids=lambda path: Path(path).name)
def test_every_sweep_of_ours_can_be_listed_and_is_kept_whole(path, tmp_path):
    sweep = sweep_lib.load(path)
    tasks = sweep_tasks.tasks(path, sweep, epath.Path(tmp_path), [])
    assert len({task.directory for task in tasks}) == len(tasks) > 0
    for task in tasks:
        seen = tasks[: tasks.index(task)]
        assert all(net in seen for net in task.needs)
        if task.config is not None:
            validate(task.config)
            assert task.directory.name.endswith(f"-seed{task.config.seed}")
    (tmp_path / "sweep.json").write_text(sweep_lib.to_json(path, sweep, []))
    assert sweep_lib.read(epath.Path(tmp_path)) == sweep


def test_the_commands_are_what_the_tasks_say(tmp_path):
    """Someone may type them: the config of each is the one that is listed."""
    path, data = f"{CONFIGS / 'tables.py'}", "--config.data.cache_dir=/elsewhere"
    overrides = ["--config.batch_size=64", data]
    for task in sweep_tasks.tasks(path, sweep_lib.load(path), epath.Path(tmp_path), overrides):
        if task.config is not None:
            assert task.config.batch_size == 64
            assert task.config.init_from == (str(task.needs[0].directory) if task.needs else None)
            assert f"--config.seed={task.config.seed}" in task.train
            assert data in task.train
        nets = task.needs if task.config is None else [task]
        assert task.evaluate == (
            *(f"--workdir={net.directory}" for net in nets), data, "--views=10",
            f"--json={task.directory / 'evaluation.json'}",
        )  # fmt: skip


@pytest.mark.parametrize("text", [None, "", "{}", "[]", '{"sweep": {}}'])
def test_no_sweep_in_a_directory_is_a_line(text, tmp_path, cache_dir, capfd):
    if text is not None:
        (tmp_path / "sweep.json").write_text(text)
        file = write_sweep(tmp_path / "mine.py", SWEEP)
        assert "sweep.json that can't be read" in refused(capfd, words(file, tmp_path, cache_dir))
    with pytest.raises(UserError, match=r"holds no sweep, no sweep\.json"):
        sweep_lib.read(epath.Path(tmp_path))


@pytest.mark.parametrize("what", ["evaluation.json", "config.json"])
@pytest.mark.parametrize("text", ["", "{}", "[]", None])
def test_what_tells_nothing_is_not_done(what, text, moved, tmp_path, cache_dir, capfd):
    file = tmp_path / "sweep" / "base-seed0" / what
    file.unlink() if text is None else file.write_text(text)
    assert listed(words(moved, tmp_path / "sweep", cache_dir), capfd)[0] == "to do"


def test_a_folder_that_is_named_another_way_is_the_same_data(
    five_classes, tmp_path, cache_dir, monkeypatch, capfd
):
    """As configs/tables.py has its sets: by a name that may be a link, from where the command is typed."""
    monkeypatch.chdir(tmp_path)
    Path("link").symlink_to("photographs")
    settings = {"num_steps": 2, "data.source": "folder:link", "net.towers": 2}
    text = f"(Member('base', TINY, {settings}), Member('tuned', TINY, {settings}, init_from='base'))"
    args = words(write_sweep(tmp_path / "mine.py", text), "sweep", cache_dir)
    assert run(args).status == 0
    before = bytes_of(tmp_path / "sweep")
    assert listed(args, capfd) == ["done", "done"]
    assert run(args).status == 0
    assert bytes_of(tmp_path / "sweep") == before
    shutil.move("photographs", "moved")
    Path("link").unlink()
    Path("link").symlink_to("moved")
    assert listed(args, capfd) == ["to do", "to do"]
    assert "base-seed0 is trained to its end, step 2" in run([*args, "--index=0"]).out
    (Path("moved") / "train" / "a" / "0.png").unlink()
    Path("moved").rename("fewer")
    Path("link").unlink()
    Path("link").symlink_to("fewer")
    before = (tmp_path / "sweep" / "base-seed0" / "evaluation.json").read_bytes()
    assert "was trained on other data" in run([*args, "--index=0"]).out
    assert "failed: base-seed0:" in (tmp_path / "sweep" / "table.md").read_text()
    assert (tmp_path / "sweep" / "base-seed0" / "evaluation.json").read_bytes() == before


def test_two_sweeps_at_once_train_a_net_once(tmp_path, cache_dir):
    text = "(Member('base', TINY), Member('tuned', TINY, {'num_steps': 1}, init_from='base'))"
    args = words(write_sweep(tmp_path / "mine.py", text), tmp_path / "sweep", cache_dir)
    both = [ended(sweep) for sweep in [start(args), start(args)]]
    assert [sweep.status for sweep in both] == [0, 0], both
    said = "".join(sweep.out for sweep in both)
    assert said.count(": alexnet-jax train --config=") == 2
    assert "failed" not in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(Member('a', TINY + ':nothere'),)", "a: no variant nothere; there are plateau"),
        ("(Member('a', 'nothere.py'),)", "a: no config file"),
        ("(Member('a', TINY, {'optimizer.learning_rat': 1}),)", "did you mean optimizer.learning_rate"),
        ("(Member('a', TINY, {'optimizer.learning_rate': 'fast'}),)", "takes a number, not 'fast'"),
        ("(Member('a', TINY, {'data.crop_size': 9}),)", "a: config.data.crop_size is 9"),
        ("(Member('base', TINY), Member('a', TINY, init_from='bass'))", "no member bass (did you mean base"),
        ("(Member('a', TINY, init_from='b'), Member('b', TINY))", "not trained before it with this seed"),
        ("(Member('b', TINY, seeds=(1,)), Member('a', TINY, init_from='b'))", "a, seed 0, begins with b"),
        ("(Member('a', TINY, init_from='a'),)", "not trained before it"),
        ("(Member('a b', TINY), Member('a-b', TINY))", "two rows or nets of the sweep are named a-b"),
        ("(Member('a', TINY),), ensembles=(Ensemble('a', ('a',)),)", "are named a"),
        ("(Member('a', TINY),), seeds=(0, 0)", "are named a-seed0"),
        ("(Member('a', TINY),), ensembles=(Ensemble('all', ('a', 'c')),)", "no member c"),
        ("(Member('a', TINY),), baseline='b'", "no member b"),
        ("(Member('a', TINY),), views=5", "views are 5, but must be 1 or 10"),
        ("(Member('a', TINY),), vews=5", "vews"),
    ],
)  # fmt: skip
def test_a_sweep_that_cannot_be_is_one_line_and_leaves_nothing(text, message, tmp_path, capfd):
    file = write_sweep(tmp_path / "mine.py", text)
    err = refused(capfd, words(file, tmp_path / "sweep", tmp_path))
    assert message in err
    assert "mine.py" in err
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["mine.py"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--config.seed=3"], "--config.seed=3: the sweep sets it for each net"),
        (["--config.seed", "3"], "--config.seed=3: the sweep sets it for each net"),
        (["--config.init_from=x"], "the sweep sets it for each net"),
        (["-config.seed=3"], "--config.seed=3: the sweep sets it for each net"),
        (
            ["--config.optimizer.learning_rate=0.5"],
            "learning_rate=0.5 would be every net's, but they have 0.0, 0.02, 10000",
        ),
        (["--config.batch_sise=3"], "did you mean batch_size"),
        (["--config.batch_size=many"], "takes a whole number, not 'many'"),
        (["--index=6"], "--index is 6, but must be between 0 and 5"),
        (["--index=-1"], "--index is -1, but must be between 0 and 5"),
        (["--index=first"], "first"),
        (["extra"], "sweep takes flags alone, not 'extra'"),
        ([f"--config={CONFIGS / 'digits.py'}"], "digits.py has no sweep()"),
        (["--config=nothere.py"], "no config file nothere.py"),
        ([f"--config={CONFIGS / 'ablations.py'}:cifar"], "no sweep cifar (did you mean cifar10?)"),
        (["--workdir="], "--workdir=DIR is missing"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(more, message, tmp_path, capfd):
    file = write_sweep(tmp_path / "mine.py", SWEEP)
    assert message in refused(capfd, words(file, tmp_path / "sweep", tmp_path, *more))
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["mine.py"]


def wait_for_step(workdir, step, process):
    """Until the training has written a line of at least this step; returns the last one."""
    while process.poll() is None:
        metrics = workdir / "metrics.jsonl"
        lines = metrics.read_text().splitlines()[:-1] if metrics.exists() else []
        steps = [json.loads(line)["step"] for line in lines]
        if steps and steps[-1] >= step:
            return steps[-1]
        time.sleep(0.02)
    raise AssertionError(process.communicate())


def test_a_sweep_that_is_stopped_or_killed_goes_on_to_the_same_bits(tmp_path, cache_dir):
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
    assert last.startswith("alexnet-jax: SIGTERM: train has stopped with status")
    assert f"resume with: alexnet-jax sweep --config={file} --workdir={tmp_path / 'sweep'}" in last
    assert "Traceback" not in err

    sweep = start(args)  # a scheduler's way: to all processes
    wait_for_step(net, saved + 10, sweep)
    (training,) = Path(f"/proc/{sweep.pid}/task/{sweep.pid}/children").read_text().split()
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
    done = run(args)  # the training of the other one goes on, and is waited for
    sweep.communicate()
    assert done.status == 0, done.err
    assert "waits for a training that is under way" in done.out
    config = get_config(TINY)
    config.update_from_flattened_dict(settings | {"data.cache_dir": cache_dir})
    train(config, str(tmp_path / "undisturbed"))
    ours, theirs = restore(net), restore(tmp_path / "undisturbed")
    assert ours.step == theirs.step == 1000
    for one, other in zip(jax.tree.leaves(ours.params), jax.tree.leaves(theirs.params), strict=True):
        np.testing.assert_array_equal(one, other)
