"""The last few and the best are kept; what is damaged is noticed."""

import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from alexnet_jax import UserError, build, restore
from alexnet_jax.errors import RunError
from alexnet_jax.files import absolute
from alexnet_jax.parallel.mesh import make_mesh
from alexnet_jax.training import checkpoint
from alexnet_jax.training.checkpoint import Checkpoints
from alexnet_jax.training.optimizer import Plateau
from alexnet_jax.training.step import TrainState, new_state


@pytest.fixture(scope="module")
def saved(tmp_path_factory, cache_dir):
    """Seven checkpoints, the second and the fifth with the lowest error; the last two and the best stay."""
    from alexnet_jax import get_config
    from tests.conftest import RECIPES

    config = get_config(f"{RECIPES / 'tiny.py'}")
    workdir = absolute(tmp_path_factory.mktemp("saved"))
    model = build(config)
    state = new_state(model, config, make_mesh(1, 1))
    with Checkpoints(workdir, keep=2) as checkpoints:
        for step, error in enumerate([0.5, 0.3, None, 0.4, 0.3, None, 0.9], start=1):
            checkpoints.save(step, changed(state, step), Plateau(reductions=step), error)
        checkpoints.wait()
    return workdir, state, model


def changed(state, step):
    params = jax.tree.map(lambda x: x + step, state.params)
    return TrainState(state.step + step, params, state.opt_state)


@pytest.fixture
def copy(saved, tmp_path):
    shutil.copytree(saved[0], tmp_path / "w")
    return absolute(tmp_path / "w"), saved[1]


def test_the_last_few_and_the_best_are_kept(saved):
    with Checkpoints(saved[0]) as checkpoints:
        assert checkpoints.steps() == [5, 6, 7]  # of equal errors the later is the best
        assert checkpoints.best() == (5, 0.3)


def test_restored_is_what_was_saved(saved):
    workdir, state, _ = saved
    with Checkpoints(workdir) as checkpoints:
        step, restored, plateau = checkpoints.restore_last(state, pytest.fail)
    assert (step, int(restored.step), plateau) == (7, 7, Plateau(reductions=7))
    for ours, theirs in zip(jax.tree.leaves(restored), jax.tree.leaves(changed(state, 7)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_new_workdir_has_no_checkpoint(tmp_path, saved):
    with Checkpoints(absolute(tmp_path), keep=1) as checkpoints:
        assert checkpoints.restore_last(saved[1], pytest.fail) is None
        assert checkpoints.best() is None


def damage(checkpoint, how):
    """Flips a bit among the numbers of the parameters, cuts a file, or takes one away."""
    checkpoint = Path(checkpoint)
    if how == "flip":
        file = max((checkpoint / "params").rglob("d/*"), key=lambda f: f.stat().st_size)
        text = bytearray(file.read_bytes())
        text[len(text) // 2] ^= 1
        file.write_bytes(text)
    elif how == "cut":
        file = checkpoint / "params" / "manifest.ocdbt"
        file.write_bytes(file.read_bytes()[:20])
    elif how == "host":
        (checkpoint / "host" / "metadata").write_text("")
    else:
        (checkpoint / "host" / "metadata").unlink()


@pytest.mark.parametrize("how", ["flip", "cut", "remove", "host"])
def test_training_takes_the_one_before_a_damaged_one(copy, how, capfd):
    workdir, state = copy
    damage(workdir / "checkpoints" / "7", how)
    said = []
    with Checkpoints(workdir, keep=2) as checkpoints:
        step, restored, _ = checkpoints.restore_last(state, said.append)
        assert checkpoints.steps() == [5, 6]
        checkpoints.save(7, changed(state, 7), Plateau(), None)  # the run gets there again
    assert (workdir / "checkpoints" / "7.damaged").exists()
    assert step == 6
    np.testing.assert_array_equal(restored.params["fc8"]["bias"], state.params["fc8"]["bias"] + 6)
    assert len(said) == 1
    assert said[0].startswith("checkpoint 7 is damaged and passed over (")
    assert "Traceback" not in capfd.readouterr().err


def test_training_ends_where_every_checkpoint_is_damaged(copy):
    workdir, state = copy
    for step in (5, 6, 7):
        damage(workdir / "checkpoints" / str(step), "cut")
    with Checkpoints(workdir, keep=2) as checkpoints, pytest.raises(RunError, match="no checkpoint in"):
        checkpoints.restore_last(state, lambda _: None)
    assert len(list((workdir / "checkpoints").iterdir())) == 3


@pytest.mark.parametrize("how", ["flip", "cut"])
def test_evaluation_names_a_damaged_one(trained, tmp_path, how):
    shutil.copytree(trained, tmp_path / "w")
    damage(tmp_path / "w" / "checkpoints" / "40", how)
    with pytest.raises(UserError, match=r"checkpoint 40 in .* is damaged"):
        restore(tmp_path / "w")
    assert restore(tmp_path / "w", step=30).step == 30


@pytest.mark.parametrize(
    ("step", "message"),
    [(35, "no checkpoint 35 in .*there are 20, 30, 40"), ("first", "must be last, best or a number")],
)
def test_a_step_that_is_not_there(trained, step, message):
    with pytest.raises(UserError, match=message):
        restore(trained, step=step)


def test_no_checkpoint_and_no_workdir(trained, tmp_path):
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


def test_another_format_is_refused_in_one_line(saved, tmp_path, monkeypatch):
    """As a checkpoint of an older version would be; nothing of it is set aside."""
    shutil.copytree(saved[0], tmp_path / "w")
    workdir, state = absolute(tmp_path / "w"), saved[1]
    monkeypatch.setattr(checkpoint, "FORMAT", checkpoint.FORMAT + 1)
    message = (
        r"checkpoint 7 in .* has format 2, but this alexnet-jax reads format 3: use the version that wrote"
    )
    with Checkpoints(workdir, keep=2) as checkpoints:
        with pytest.raises(UserError, match=message):
            checkpoints.restore_last(state, pytest.fail)
        with pytest.raises(UserError, match=message):
            checkpoints.restore_params("last", saved[2], make_mesh(1, 1))
        assert checkpoints.steps() == [5, 6, 7]
