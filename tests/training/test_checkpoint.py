"""Any checkpoint can be read on any mesh; a damaged or unsuitable one is refused in one line."""

import shutil

import jax
import numpy as np
import pytest

from alexnet_jax import UserError, restore
from alexnet_jax.parallel.mesh import make_mesh
from alexnet_jax.training import checkpoint
from alexnet_jax.training.checkpoint import Checkpoints
from tests.training.conftest import damage


def test_of_equal_errors_the_later_is_the_best(saved):
    with Checkpoints(saved[0]) as checkpoints:
        assert checkpoints.errors() == {5: 0.3, 6: None, 7: 0.9}
        assert checkpoints.best() == (5, 0.3)


def test_only_a_torn_checkpoint_has_no_error(copy):
    damage(copy[0] / "checkpoints" / "7", "host")
    with Checkpoints(copy[0]) as checkpoints:
        assert checkpoints.errors() == {5: 0.3, 6: None}


@pytest.mark.parametrize("how", ["flip", "cut"])
def test_evaluation_names_a_damaged_checkpoint(trained, tmp_path, how):
    shutil.copytree(trained, tmp_path / "w")
    damage(tmp_path / "w" / "checkpoints" / "40", how)
    with pytest.raises(UserError, match=r"checkpoint 40 in .* is damaged"):
        restore(tmp_path / "w")
    assert restore(tmp_path / "w", step=30).step == 30


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
    monkeypatch.setattr(checkpoint, "FORMAT", checkpoint.FORMAT + 1)
    message = r"checkpoint 7 in .* has format 4, but this alexnet-jax reads format 5: use the version"
    with Checkpoints(saved[0]) as checkpoints, pytest.raises(UserError, match=message):
        checkpoints.restore_params("last", saved[2], make_mesh(1, 1))
