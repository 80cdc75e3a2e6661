"""Checkpoints can be written into and read from a directory of any name."""

import tempfile
from pathlib import Path

import jax
import numpy as np
import pytest
from etils import epath

from alexnet_jax import UserError
from alexnet_jax.files import absolute
from alexnet_jax.parallel.mesh import make_mesh
from alexnet_jax.training.checkpoint import Checkpoints
from alexnet_jax.training.checkpoint_writer import CheckpointWriter
from alexnet_jax.training.plain_path import plain_path
from alexnet_jax.training.schedule import Plateau
from alexnet_jax.training.tally import Tally
from alexnet_jax.training.workdir import saved_steps
from tests.odd_names import ODD_NAMES
from tests.training.conftest import changed


@pytest.mark.parametrize("name", ODD_NAMES)
def test_checkpoints_in_a_directory_of_any_name(saved, tmp_path, name):
    _, state, model = saved
    workdir = absolute(tmp_path / name / "w")
    with CheckpointWriter(workdir, keep=1) as checkpoints:
        checkpoints.save(1, changed(state, 1), Plateau(), 0.5, Tally())
        checkpoints.save(2, changed(state, 2), Plateau(), 0.4, Tally())
    with CheckpointWriter(workdir, keep=1) as checkpoints:
        assert checkpoints.restore_last(state, pytest.fail)[0] == 2
        checkpoints.save(3, changed(state, 3), Plateau(), None, Tally())
    assert saved_steps(workdir) == [2, 3]
    with Checkpoints(workdir) as checkpoints:
        assert checkpoints.best() == (2, 0.4)
        step, params = checkpoints.restore_params("last", model, make_mesh(1, 1))
    assert step == 3
    for ours, theirs in zip(jax.tree.leaves(params), jax.tree.leaves(state.params), strict=True):
        np.testing.assert_array_equal(ours, theirs + 3)


def test_a_plain_path_is_used_as_it_is(tmp_path):
    with plain_path(epath.Path("/a/b_c-1.2/checkpoints")) as path:
        assert path == epath.Path("/a/b_c-1.2/checkpoints")


def test_the_link_is_private_and_removed(tmp_path):
    with plain_path(epath.Path(tmp_path / "[x]")) as path:
        private = Path(path).parent
        assert Path(path).readlink() == tmp_path / "[x]"
        assert private.stat().st_mode & 0o777 == 0o700
        assert [path.name for path in private.iterdir()] == ["link"]
    assert not private.exists()


def test_a_pattern_in_the_path_of_a_bucket_is_refused():
    for character in "*?[]\\":
        with (
            pytest.raises(UserError, match="must not have any of the characters"),
            plain_path(epath.Path(f"gs://bucket/run{character}")),
        ):
            pass


def test_messages_name_the_directory_and_not_the_link(saved, tmp_path):
    workdir = absolute(tmp_path / "[x]")
    with CheckpointWriter(workdir, keep=1) as checkpoints:
        checkpoints.save(1, changed(saved[1], 1), Plateau(), None, Tally())
    (workdir / "checkpoints" / "1" / "host" / "metadata").unlink()
    with Checkpoints(workdir) as checkpoints, pytest.raises(UserError) as refused:
        checkpoints.restore_params("last", saved[2], make_mesh(1, 1))
    assert f"checkpoint 1 in {workdir}/checkpoints is damaged" in str(refused.value)
    assert "/link" not in str(refused.value)


def test_a_folder_for_temporary_files_with_a_pattern_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "[t]"))
    with (
        pytest.raises(UserError, match="set TMPDIR to another folder"),
        plain_path(epath.Path(tmp_path / "[x]")),
    ):
        pass
