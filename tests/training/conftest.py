"""Checkpoints to read, and to damage."""

import shutil
from pathlib import Path

import jax
import pytest

from alexnet_jax import build, get_config
from alexnet_jax.files import absolute
from alexnet_jax.parallel.mesh import make_mesh
from alexnet_jax.training.checkpoint_writer import CheckpointWriter
from alexnet_jax.training.schedule import Plateau
from alexnet_jax.training.state import TrainState, new_state
from alexnet_jax.training.tally import Tally
from tests.conftest import RECIPES


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """Save seven checkpoints, of which the second and the fifth have the lowest error. Three are kept."""
    config = get_config(f"{RECIPES / 'tiny.py'}")
    workdir = absolute(tmp_path_factory.mktemp("saved"))
    model = build(config)
    state = new_state(model, config, make_mesh(1, 1))
    with CheckpointWriter(workdir, keep=2) as checkpoints:
        for step, error in enumerate([0.5, 0.3, None, 0.4, 0.3, None, 0.9], start=1):
            tally = Tally(updates=step, loss=step / 10)
            checkpoints.save(step, changed(state, step), Plateau(reductions=step), error, tally)
        checkpoints.wait()
    return workdir, state, model


def changed(state, step):
    params = jax.tree.map(lambda x: x + step, state.params)
    return TrainState(state.step + step, params, state.opt_state)


@pytest.fixture
def copy(saved, tmp_path):
    shutil.copytree(saved[0], tmp_path / "w")
    return absolute(tmp_path / "w"), saved[1]


def damage(checkpoint, how):
    """Damage a checkpoint: flip a bit of the parameters, truncate a file, empty one, or remove one."""
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
