"""The tasks of a sweep: their commands, and which of them are done. The networks are real but tiny."""

import json
import shutil
from pathlib import Path

import pytest
from etils import epath

from alexnet_jax import restore
from alexnet_jax.cli.main import main
from alexnet_jax.sweep import spec as sweep_spec
from alexnet_jax.sweep import tasks as sweep_tasks
from tests.conftest import CONFIGS
from tests.sweep.conftest import (
    SWEEP,
    bytes_of,
    evaluation,
    listed,
    refused,
    run,
    words,
    write_sweep,
)

pytestmark = pytest.mark.slow


def test_the_commands_make_the_configs_of_the_tasks(tmp_path):
    """A user can type the commands that a sweep prints."""
    path, data = f"{CONFIGS / 'tables.py'}", "--config.data.cache_dir=/elsewhere"
    overrides = ["--config.batch_size=64", data]
    for task in sweep_tasks.tasks(path, sweep_spec.load(path), epath.Path(tmp_path), overrides):
        if task.config is not None:
            assert task.config.batch_size == 64
            assert task.config.init_from == (str(task.needs[0].directory) if task.needs else None)
            assert f"--config.seed={task.config.seed}" in task.train
            assert data in task.train
        nets = task.needs if task.config is None else [task]
        assert task.evaluate == (
            *(f"--workdir={net.directory}" for net in nets),
            f"--config.data.source={nets[0].config.data.source}", data, "--views=10",
            f"--json={task.directory / 'evaluation.json'}",
        )  # fmt: skip


def test_a_dry_run_writes_nothing(tmp_path, cache_dir, capfd):
    args = words(write_sweep(tmp_path / "mine.py", SWEEP), tmp_path / "sweep", cache_dir)
    assert listed(args, capfd) == ["to do"] * 6
    assert not (tmp_path / "sweep").exists()


def test_one_task_is_listed(tmp_path, cache_dir, capfd):
    args = words(write_sweep(tmp_path / "mine.py", SWEEP), tmp_path / "sweep", cache_dir)
    assert main([*args, "--dry_run", "--index=2"]) == 0
    (line,) = capfd.readouterr().out.splitlines()
    assert line.startswith("2  to do  alexnet-jax train ")


@pytest.mark.parametrize("flag", ["--dry_run", "--index=0"])
def test_arrays_is_refused_with_a_flag_that_it_would_ignore(flag, tmp_path, cache_dir, capfd):
    args = words(write_sweep(tmp_path / "mine.py", SWEEP), tmp_path / "sweep", cache_dir)
    assert main([*args, "--arrays", flag]) == 2
    assert "--arrays lists all tasks: remove --dry_run and --index" in capfd.readouterr().err


def test_arrays_groups_the_tasks_that_can_run_at_the_same_time(moved, tmp_path, cache_dir, capfd):
    def arrays(workdir):
        assert main([*words(moved, workdir, cache_dir), "--arrays"]) == 0
        return capfd.readouterr().out.splitlines()

    assert arrays(tmp_path / "new") == ["0,2-3", "1,4", "5"]
    assert not (tmp_path / "new").exists()
    assert arrays(tmp_path / "sweep") == ["2"]  # all but the one that fails are done


@pytest.mark.parametrize("what", ["evaluation.json", "config.json"])
@pytest.mark.parametrize("text", ["", "{}", "[]", None])
def test_a_task_with_a_damaged_file_is_not_done(what, text, moved, tmp_path, cache_dir, capfd):
    file = tmp_path / "sweep" / "base-seed0" / what
    file.unlink() if text is None else file.write_text(text)
    assert listed(words(moved, tmp_path / "sweep", cache_dir), capfd)[0] == "to do"


def test_a_sweep_that_was_moved_is_still_done(moved, tmp_path, cache_dir, capfd):
    result = tmp_path / "sweep" / "base-seed0" / "evaluation.json"
    args = words(moved, tmp_path / "sweep", cache_dir)
    result.unlink()
    assert run([*args, "--index=0"]).status == 0  # tested again, from here
    assert str(tmp_path) in result.read_text()
    assert listed(args, capfd) == ["done", "done", "to do", "done", "done", "done"]


def test_a_task_is_to_do_again_if_its_training_is_made_longer(moved, tmp_path, cache_dir, capfd):
    args = words(moved, tmp_path / "sweep", cache_dir)
    assert listed(args, capfd) == ["done", "done", "to do", "done", "done", "done"]
    moved.write_text(moved.read_text().replace('"num_steps": 10', '"num_steps": 20'))
    assert listed(args, capfd) == ["to do"] * 6  # the others started from base, or contain it
    longer = run([*args, "--index=0"])
    assert "resuming at step 10 of 20" in longer.out
    assert evaluation(tmp_path / "sweep", "base-seed0")["checkpoints"][0]["step"] == 20
    assert listed(args, capfd) == ["done", "holds another network", "to do", "to do", "to do", "to do"]
    base, tuned, _, ensemble = json.loads((tmp_path / "sweep" / "table.json").read_text())["rows"]
    assert base["top1"]["each"] == [100 * evaluation(tmp_path / "sweep", "base-seed0")["top1_error"]]
    assert base["failed"] == {"base-seed1": "it was trained with num_steps = 10, not 20"}
    assert tuned["top1"] is None
    assert ensemble["top1"] is None
    assert "needs base-seed1, tuned-star-seed0, tuned-star-seed1: run those first" in refused(
        capfd, [*args, "--index=5"]
    )
    assert main([*args, "--index=1"]) == 1  # and trains nothing
    started = "started from base-seed0 at step 10, which is now at step 20"
    assert f"tuned-star-seed0 holds a network that {started}: delete this directory" in capfd.readouterr().out


def test_another_cache_directory_is_the_same_sweep(swept, tmp_path, capfd):
    """In an array job each machine may have its own cache."""
    main([*swept.args, f"--config.data.cache_dir={tmp_path}", "--index=0"])
    assert "[--index=0 of 6] base, seed 0: already done" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("settings", "difference"),
    [
        (
            '{"num_steps": 10, "optimizer.learning_rate": 0.01}',
            "optimizer.bias_learning_rate = 0.02, not 0.01",
        ),
        ('{"num_steps": 5}', "num_steps = 10, not 5"),
        ('{"num_steps": 10, "batch_size": 8}', "batch_size = 16, not 8"),
    ],
)
def test_a_network_that_was_trained_with_other_settings_is_refused(
    moved, tmp_path, cache_dir, capfd, settings, difference
):
    changed = SWEEP.replace('{"num_steps": 10}', settings).splitlines()
    write_sweep(moved, "\n".join(line for line in changed if "too fast" not in line))
    trained = restore(tmp_path / "sweep" / "base-seed0")
    assert main(words(moved, tmp_path / "sweep", cache_dir)) == 1
    out = capfd.readouterr().out
    assert f"base-seed0 holds a network with {difference}: delete this directory, or give" in out
    needed = ", ".join(f"{name}-seed{seed}" for name in ("base", "tuned-star") for seed in (0, 1))
    assert f"all of them: failed: these tasks must be done first: {needed}" in out
    base, tuned, ensemble = json.loads((tmp_path / "sweep" / "table.json").read_text())["rows"]
    assert base["top1"] is None
    assert list(base["failed"]) == ["base-seed0", "base-seed1"]
    assert list(ensemble["failed"]) == ["all-of-them"]
    assert len(tuned["failed"]) == 2  # they started from other networks, too
    assert listed(words(moved, tmp_path / "sweep", cache_dir), capfd)[0] == "holds another network"
    assert restore(tmp_path / "sweep" / "base-seed0").step == trained.step
    write_sweep(moved, SWEEP)  # the old networks are kept
    assert listed(words(moved, tmp_path / "sweep", cache_dir), capfd)[0] == "done"


def test_the_interval_of_evaluations_matters_to_the_plateau_schedule(tiny, tmp_path, monkeypatch):
    changed = tiny.copy_and_resolve_references()
    changed.eval_every = 5
    for schedule, expected in (("plateau", [("eval_every", 20, 5)]), ("steps", [])):
        tiny.schedule.name = changed.schedule.name = schedule
        monkeypatch.setattr(sweep_tasks, "read_workdir", lambda directory: (tiny, None))
        task = sweep_tasks.Task("a", epath.Path(tmp_path), (), (), (), changed)
        assert sweep_tasks.changes(task) == expected


def test_another_path_to_the_same_folder_is_the_same_data(
    five_classes, tmp_path, cache_dir, monkeypatch, capfd
):
    """The folders of configs/tables.py may be links in the current directory."""
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


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--config.seed=3"], "--config.seed=3: the sweep sets seed for each network. Remove this flag"),
        (["--config.seed", "3"], "--config.seed=3: the sweep sets seed for each network. Remove this flag"),
        (["--config.init_from=x"], "the sweep sets init_from for each network. Remove this flag"),
        (["-config.seed=3"], "--config.seed=3: the sweep sets seed for each network. Remove this flag"),
        (
            ["--config.optimizer.learning_rate=0.5"],
            "cannot override optimizer.learning_rate: the members set different values (0.0, 0.02, 10000",
        ),
        (["--config.batch_sise=3"], "did you mean batch_size"),
        (["--config.batch_size=many"], "takes a whole number, not 'many'"),
        (["--index=6"], "--index is 6, but must be between 0 and 5"),
        (["--index=-1"], "--index is -1, but must be between 0 and 5"),
        (["--index=first"], "first"),
        (["extra"], "sweep takes only flags: remove 'extra'"),
        ([f"--config={CONFIGS / 'digits.py'}"], "digits.py has no sweep()"),
        (["--config=nothere.py"], "no config file nothere.py"),
        ([f"--config={CONFIGS / 'ablations.py'}:cifar"], "no sweep cifar (did you mean cifar10?)"),
        (["--workdir="], "--workdir=DIR is missing"),
    ],
)
def test_user_errors_are_one_line_and_write_nothing(more, message, tmp_path, capfd):
    file = write_sweep(tmp_path / "mine.py", SWEEP)
    assert message in refused(capfd, words(file, tmp_path / "sweep", tmp_path, *more))
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["mine.py"]
