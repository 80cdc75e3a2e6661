"""Opening a run: what is refused before anything is written, and what is not changed."""

import shutil

import pytest

from alexnet_jax import UserError
from alexnet_jax.config import saved
from alexnet_jax.files import locked
from alexnet_jax.layers import replaced
from alexnet_jax.loops.train import train
from alexnet_jax.training.run import open_run, settled
from alexnet_jax.training.schedule import total_steps
from alexnet_jax.training.workdir import read_workdir


def test_training_does_not_change_the_callers_config(tiny, five_classes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert five_classes == f"folder:{tmp_path}/photographs"
    tiny.data.source, tiny.data.cache_dir, tiny.num_steps = "folder:photographs", "cache", 1
    tiny.data.validation = 0.0
    tiny.net.layers = replaced(tiny.net.layers, "fc8", classes=0)
    before = saved.to_json(tiny)
    train(tiny, "w")
    assert saved.to_json(tiny) == before
    ours, _ = read_workdir("w")
    assert (ours.data.source, ours.data.cache_dir) == (five_classes, f"{tmp_path}/cache")
    assert ours.net.layers[-1].classes == 5


def test_a_wrong_setting_is_refused(tiny):
    tiny.data.crop_size = 9
    with pytest.raises(UserError, match="crop_size is 9, but must not be larger than config"):
        settled(tiny)


@pytest.mark.parametrize(
    ("num_steps", "num_epochs", "expected"), [(7, 90.0, 7), (None, 1.5, 120), (None, 1e-3, 1)]
)
def test_the_length_of_a_run(tiny, num_steps, num_epochs, expected):
    tiny.num_steps, tiny.num_epochs = num_steps, num_epochs
    assert total_steps(tiny, 80) == expected


def test_the_mesh_is_checked_before_the_data_is_prepared(tiny, tmp_path):
    tiny.mesh, tiny.data.cache_dir = (3, 1), str(tmp_path / "cache")
    with pytest.raises(UserError, match="can't be split over 3 devices"):
        train(tiny, tmp_path / "w")
    assert not list(tmp_path.iterdir())


def test_the_config_at_the_end_does_not_change_the_one_before(tiny, trained, tmp_path):
    shutil.copytree(trained, tmp_path / "w")
    tiny.num_steps, tiny.optimizer.learning_rate = 50, 0.5
    with open_run(tiny, tmp_path / "w") as run:
        at_end = run.config_at_end()
        assert (at_end.num_steps, at_end.optimizer.learning_rate) == (50, 0.02)
        assert (run.before.num_steps, run.before.optimizer.learning_rate) == (40, 0.02)
        assert "num_steps: 40 -> 50" in run.changed


def test_a_second_training_in_a_workdir_is_refused_and_writes_nothing(tiny, tmp_path):
    tiny.num_steps = 1
    with locked(tmp_path / "lock", lambda: None):
        with pytest.raises(UserError, match=f"another process trains in {tmp_path}: take another --workdir"):
            train(tiny, tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["lock"]
    train(tiny, tmp_path)
    assert (tmp_path / "config.json").exists()


def test_a_finished_run_keeps_the_settings_that_it_was_trained_with(tiny, trained, tmp_path, capsys):
    shutil.copytree(trained, tmp_path / "w")
    before = (tmp_path / "w" / "config.json").read_bytes()
    tiny.optimizer.learning_rate = 0.5
    train(tiny, str(tmp_path / "w"))
    assert "is trained to its end, step 40" in capsys.readouterr().out
    tiny.num_steps = 20
    with pytest.raises(
        UserError, match=r"is at step 40, but the config ends at step 20: raise --config.num_steps"
    ):
        train(tiny, str(tmp_path / "w"))
    assert (tmp_path / "w" / "config.json").read_bytes() == before


@pytest.mark.parametrize("init_from", ["another", None])
def test_a_resumed_run_has_the_same_init_from(tiny, trained, tmp_path, init_from):
    shutil.copytree(trained, tmp_path / "w")
    shutil.copytree(trained, tmp_path / "another")
    tiny.num_steps, tiny.init_from = 41, str(trained)
    with pytest.raises(UserError, match="holds a run with init_from = None"):
        train(tiny, str(tmp_path / "w"))
    train(tiny, str(tmp_path / "tuned"))
    tiny.num_steps, tiny.init_from = 42, init_from and str(tmp_path / "another")
    with pytest.raises(UserError, match=f"holds a run with init_from = {trained}, but the config has"):
        train(tiny, str(tmp_path / "tuned"))


@pytest.mark.parametrize(("key", "value"), [("batch_size", 8), ("seed", 3), ("data.validation", 0.2)])
def test_another_run_is_refused_before_anything_is_overwritten(tiny, trained, key, value):
    section, _, name = key.rpartition(".")
    (tiny[section] if section else tiny)[name] = value
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=f"holds a run with {key}"):
        train(tiny, str(trained))
    assert before == {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 2000}, "training has only 1293 images"),
        ({"mesh": (3, 1)}, "batch_size = 16 can't be split over 3 devices"),
        ({"mesh": (1, 4)}, "2 towers can't be split over 4 devices"),
        ({"init_from": "/nowhere"}, "/nowhere is no workdir"),
        (
            {"num_steps": None, "num_epochs": 1, "profile": "80:81"},
            "config.profile is 80:81, but the run has only 80 steps",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused_and_leave_no_workdir(tiny, tmp_path, change, message):
    tiny.update(change)
    with pytest.raises(UserError, match=message):
        train(tiny, str(tmp_path / "w"))
    assert not (tmp_path / "w").exists()


def test_plateau_without_validation_is_refused(tiny, tmp_path):
    tiny.schedule.name, tiny.data.validation = "plateau", 0.0
    with pytest.raises(UserError, match="needs a validation split"):
        train(tiny, str(tmp_path / "w"))
    assert not (tmp_path / "w").exists()


def test_a_workdir_that_cannot_be_written_is_refused(tiny, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="can't be written"):
        train(tiny, str(tmp_path / "file" / "w"))


@pytest.mark.parametrize("name", ["lock", "metrics.jsonl", "goodput.json", "checkpoints", "config.json"])
def test_a_link_inside_a_workdir_is_refused_and_its_target_is_kept(tiny, tmp_path, name):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / name).symlink_to("../mine")
    with pytest.raises(UserError, match=rf"{tmp_path}/w/{name} is a symbolic link to \.\./mine"):
        train(tiny, tmp_path / "w")
    assert (tmp_path / "mine").read_text() == "mine"
    assert [path.name for path in (tmp_path / "w").iterdir()] == [name]


def test_a_folder_in_place_of_the_lock_is_refused(tiny, tmp_path):
    (tmp_path / "w" / "lock").mkdir(parents=True)
    with pytest.raises(UserError, match=r"w/lock is a folder, but must be a file: remove it"):
        train(tiny, tmp_path / "w")


def test_a_link_to_a_workdir_is_allowed(tiny, tmp_path):
    tiny.num_steps = 1
    (tmp_path / "w").mkdir()
    (tmp_path / "link").symlink_to("w")
    train(tiny, tmp_path / "link")
    assert (tmp_path / "w" / "config.json").exists()


def test_a_run_with_a_damaged_config_resumes_as_its_message_says(tiny, trained, tmp_path, capsys):
    shutil.copytree(trained, tmp_path / "w")
    (tmp_path / "w" / "config.json").write_text("")
    tiny.num_steps = 41
    with pytest.raises(UserError, match=r"delete its config\.json and run the same train command again"):
        train(tiny, tmp_path / "w")
    (tmp_path / "w" / "config.json").unlink()
    train(tiny, tmp_path / "w")
    assert "resuming at step 40 of 41" in capsys.readouterr().out
    read_workdir(tmp_path / "w")
