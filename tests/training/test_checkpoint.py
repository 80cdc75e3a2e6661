"""Any checkpoint can be read on any mesh; a damaged or unsuitable one is refused in one line."""

import os
import re
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from alexnet_jax import UserError, build, get_config, restore
from alexnet_jax.parallel.mesh import make_mesh
from alexnet_jax.training import record
from alexnet_jax.training.checkpoint import Checkpoints, manager
from tests.conftest import RECIPES
from tests.training.conftest import damage


def test_of_equal_errors_the_later_is_the_best(saved):
    with Checkpoints(saved[0]) as checkpoints:
        assert checkpoints.errors() == {5: 0.3, 6: None, 7: 0.9}
        assert checkpoints.best() == (5, 0.3)


def test_only_a_torn_checkpoint_has_no_error(copy):
    damage(copy[0] / "checkpoints" / "7", "host")
    with Checkpoints(copy[0]) as checkpoints:
        assert checkpoints.errors() == {5: 0.3, 6: None}


def test_a_changed_error_is_damage_and_the_best_checkpoint_is_not_guessed(copy):
    """The checkpoint with the error 0.9 would become the best."""
    file = copy[0] / "checkpoints" / "7" / "host" / "metadata"
    file.write_text(file.read_text().replace("0.9", "0.1"))
    unknown = r"the best checkpoint in .* is not known, because checkpoint 7 is damaged \(the checksum of its"
    with Checkpoints(copy[0]) as checkpoints:
        with pytest.raises(UserError, match=unknown):
            checkpoints.best()
        with pytest.raises(UserError, match=r"checkpoint 7 in .* is damaged \(the checksum of its record"):
            checkpoints.restore_params("last", build(get_config(f"{RECIPES / 'tiny.py'}")), make_mesh(1, 1))


def test_a_checkpoint_that_a_running_training_deletes_is_not_the_best(copy):
    with Checkpoints(copy[0]) as checkpoints:
        shutil.rmtree(copy[0] / "checkpoints" / "5")
        assert checkpoints.best() == (7, 0.9)


def test_best_looks_again_if_a_running_training_replaces_the_checkpoint(copy, monkeypatch):
    def read(self, step, **items):
        if step == 5 and not (directory / "8").exists():  # a better one is written, and this one deleted
            (directory / "5").rename(directory / "8")
        return real(self, step, **items)

    directory, real = copy[0] / "checkpoints", Checkpoints._read
    shutil.rmtree(directory / "7")  # only 5 has an error
    with Checkpoints(copy[0]) as checkpoints:
        monkeypatch.setattr(Checkpoints, "_read", read)
        assert checkpoints.best() == (8, 0.3)


@pytest.mark.parametrize("gone", [FileNotFoundError, NotADirectoryError])
def test_checkpoints_are_opened_again_if_one_is_deleted_meanwhile(saved, monkeypatch, gone):
    def open_once(*args, **options):
        monkeypatch.setattr("alexnet_jax.training.checkpoint.manager", real)
        raise gone

    real = manager
    monkeypatch.setattr("alexnet_jax.training.checkpoint.manager", open_once)
    with Checkpoints(saved[0]) as checkpoints:
        assert checkpoints.steps() == [5, 6, 7]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "{}", '{"format": 4}', '{"format": NaN}', "[" * 10**5, "1" * 10**5, "\x00",
     '{"format": "\\u001b[31m\\n"}', '{"checksum": 10, "format": 4}', '{"format": {"a": [1e999]}}'],
    ids=range(12),
)  # fmt: skip
def test_a_record_of_anything_is_refused_in_one_line(copy, text):
    (copy[0] / "checkpoints" / "7" / "host" / "metadata").write_text(text)
    with Checkpoints(copy[0]) as checkpoints, pytest.raises(UserError) as refused:
        checkpoints.restore_params("last", build(get_config(f"{RECIPES / 'tiny.py'}")), make_mesh(1, 1))
    assert re.match(r"checkpoint 7 in .* (is damaged|has format)", str(refused.value))
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("how", ["flip", "cut"])
def test_evaluation_names_a_damaged_checkpoint(trained, tmp_path, how):
    shutil.copytree(trained, tmp_path / "w")
    damage(tmp_path / "w" / "checkpoints" / "40", how)
    with pytest.raises(UserError, match=r"checkpoint 40 in .* is damaged"):
        restore(tmp_path / "w")
    assert restore(tmp_path / "w", step=30).step == 30


def replace_by(file, kind):
    file.unlink()
    if kind == "pipe":
        os.mkfifo(file)
    else:
        Path(file).symlink_to("/dev/zero")


@pytest.mark.parametrize("name", ["host/metadata", "params/_METADATA", "params/manifest.ocdbt"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_reading_a_checkpoint_does_not_wait_for_a_pipe_or_a_device(copy, name, kind):
    replace_by(copy[0] / "checkpoints" / "7" / name, kind)
    with Checkpoints(copy[0]) as checkpoints:
        with pytest.raises(UserError, match=rf"checkpoint 7 in .* \(7/{name} is not a regular file\)"):
            checkpoints.restore_params("last", build(get_config(f"{RECIPES / 'tiny.py'}")), make_mesh(1, 1))
        assert checkpoints.errors() == {5: 0.3, 6: None}


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_opening_checkpoints_does_not_wait_for_a_pipe_or_a_device(copy, kind):
    replace_by(copy[0] / "checkpoints" / "6" / "_CHECKPOINT_METADATA", kind)
    with pytest.raises(UserError, match=r"6/_CHECKPOINT_METADATA is not a regular file: remove this check"):
        Checkpoints(copy[0])


@pytest.mark.parametrize(
    ("step", "message"),
    [(35, "no checkpoint 35 in .*there are 20, 30, 40"), ("first", "must be last, best or a number")],
)
def test_a_step_without_a_checkpoint_is_refused(trained, step, message):
    with pytest.raises(UserError, match=message):
        restore(trained, step=step)


def test_no_checkpoint_and_no_workdir_are_refused(trained, tmp_path):
    with pytest.raises(UserError, match="is no workdir"):
        restore(tmp_path)
    for name in ("config.json", "data.json", "mean_image.npy"):
        shutil.copy(trained / name, tmp_path)
    with pytest.raises(UserError, match="there is no checkpoint in"):
        restore(tmp_path)


@pytest.mark.parametrize("shape", [(4, 1), (1, 2), (2, 2)])
def test_parameters_are_the_same_bits_on_any_mesh(trained, shape):
    alone, elsewhere = restore(trained), restore(trained, mesh=make_mesh(*shape))
    for ours, theirs in zip(jax.tree.leaves(alone.params), jax.tree.leaves(elsewhere.params), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_another_format_is_refused_in_one_line(saved, monkeypatch):
    """The checkpoint is of an older version."""
    monkeypatch.setattr(record, "FORMAT", record.FORMAT + 1)
    message = r"checkpoint 7 in .* has format 4, but this alexnet-jax reads format 5: use the version"
    with Checkpoints(saved[0]) as checkpoints, pytest.raises(UserError, match=message):
        checkpoints.restore_params("last", saved[2], make_mesh(1, 1))


def test_last_looks_again_if_a_running_training_replaces_the_checkpoint(copy, saved, monkeypatch):
    def read(self, step, **items):
        if step == 7:  # deleted between the look at the names and the read
            (workdir / "checkpoints" / "7").rmtree()
        return real(self, step, **items)

    workdir, _ = copy
    real = Checkpoints._read
    with Checkpoints(workdir) as checkpoints:
        monkeypatch.setattr(Checkpoints, "_read", read)
        assert checkpoints.restore_params("last", saved[2], make_mesh(1, 1))[0] == 6
        with pytest.raises(UserError, match=r"no checkpoint 7 in .*; there are 5, 6"):
            checkpoints.restore_params(7, saved[2], make_mesh(1, 1))
