"""The files of a workdir: they are read as they were written, and damage is reported in one line."""

import shutil

import pytest

from alexnet_jax import UserError
from alexnet_jax.config import saved
from alexnet_jax.training.workdir import read_workdir, write_workdir

FILES = ("config.json", "data.json", "mean_image.npy")


@pytest.fixture
def workdir(trained, tmp_path):
    """A workdir without checkpoints, to damage."""
    for name in FILES:
        shutil.copy(trained / name, tmp_path)
    return tmp_path


def test_what_was_written_is_read(workdir):
    config, info = read_workdir(workdir)
    write_workdir(workdir / "new" / "w", config, info)
    again, info_again = read_workdir(workdir / "new" / "w")
    assert saved.changes(config, again) == []
    assert info_again.fingerprint == info.fingerprint


def test_a_folder_without_a_config_is_no_workdir(workdir):
    (workdir / "config.json").unlink()
    with pytest.raises(UserError, match=f"{workdir} is no workdir: it has no config.json"):
        read_workdir(workdir)


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_damage(workdir, name):
    content = (workdir / name).read_bytes()
    (workdir / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=f"{workdir} is damaged"):
        read_workdir(workdir)


@pytest.mark.parametrize("name", FILES[1:])
def test_a_file_that_is_missing_is_damage(workdir, name):
    (workdir / name).unlink()
    with pytest.raises(UserError, match=f"{workdir} is damaged: .*{name}"):
        read_workdir(workdir)


def test_a_workdir_that_cannot_be_written_is_named(workdir):
    with pytest.raises(UserError, match=r"the workdir .*data\.json/w can't be written"):
        write_workdir(workdir / "data.json" / "w", *read_workdir(workdir))
