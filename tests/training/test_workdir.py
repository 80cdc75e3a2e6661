"""The files of a workdir: they are read as they were written, and damage is reported in one line."""

import contextlib
import dataclasses
import io
import json
import os
import random
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alexnet_jax import UserError
from alexnet_jax.config import saved
from alexnet_jax.training.workdir import read_workdir, write_workdir
from tests.hostile import READ_ONLY, check_refusal, forge, hostile

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
    with pytest.raises(UserError, match=rf"{workdir} is damaged \({name}: No such file"):
        read_workdir(workdir)


def test_a_workdir_that_cannot_be_written_is_named(workdir):
    with pytest.raises(UserError, match=r"the workdir .*data\.json/w can't be written"):
        write_workdir(workdir / "data.json" / "w", *read_workdir(workdir))


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_damage(workdir, name):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    draws = random.Random(seed)
    content = (workdir / name).read_bytes()
    for _ in range(50):
        changed = bytearray(content)
        changed[draws.randrange(len(content))] ^= 1 << draws.randrange(8)
        (workdir / name).write_bytes(changed)
        try:
            read_workdir(workdir)
        except UserError:
            pass
        else:  # it was white space
            assert json.loads(changed) == json.loads(content)


def npy(array):
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


HUGE = b"\x93NUMPY\x01\x00v\x00" + (
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000, 3), }".ljust(117) + b"\n"
)


@pytest.mark.parametrize(
    ("mean_image", "message"),
    [
        (npy(np.full((8, 8, 3), np.nan, np.float32)), "mean_image.npy has an element that is not finite"),
        (npy(np.full((8, 8, 3), np.inf, np.float32)), "not finite"),
        (npy(np.zeros((8, 8, 3), np.float64)), "mean_image.npy holds float64"),
        (npy(np.zeros((9, 8, 3), np.float32)), r"of shape \(9, 8, 3\)"),
        (npy(np.zeros((8, 8, 3), np.float32))[:-1], r"mean_image.npy has 895 bytes, not 896"),
        (HUGE, r"of shape \(1000000, 1000000, 3\)"),
        (npy(np.array([{}], object)), "mean_image.npy holds object"),
        (b"", "mean_image.npy has no valid header"),
        (b"\x93NUMPY\x01\x00v\x00" + b"[" * 118, "mean_image.npy has no valid header"),
    ],
)
def test_a_mean_image_with_a_right_checksum_must_be_one(workdir, mean_image, message):
    forge(workdir, mean_image=mean_image)
    with pytest.raises(UserError, match=f"is damaged .*{message}"):
        read_workdir(workdir)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999"])
def test_a_covariance_that_is_not_finite_is_refused(workdir, value):
    data = json.loads((workdir / "data.json").read_text())
    data["color_covariance"][1][1] = 0.125
    text = json.dumps(data).replace("0.125", value)
    forge(workdir, data=text.encode())
    with pytest.raises(UserError, match=r"data\.json: .*(number|finite)"):
        read_workdir(workdir)


def first_conv(settings):
    return settings["net"]["layers"][0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s["net"].update(layers=[first_conv(s)] * 1001), "1,001 layers, more than 1,000"),
        (lambda s: s["net"].update(layers=[[]]), r"net\.layers\.0 is a list of 0, but must be an object"),
        (lambda s: first_conv(s).update(features=10**20), "more than 8,589,934,592 parameters"),
        (lambda s: first_conv(s).update(features=2.0), "features is 2.0, but must be a whole number"),
        (
            lambda s: first_conv(s).update(padding=[10**9] * 2),
            "more than 8,589,934,592 parameters or outputs",
        ),
        (lambda s: s["net"].update(towers=10**9), "parameters or outputs"),
        (lambda s: s["data"].update(image_size=4096), "images of different sizes"),
        (lambda s: s["optimizer"].update(layers=[1]), "optimizer.layers is a list of 1"),
        (lambda s: s["net"]["layers"][-1].update(classes=9), "fewer outputs than data.json has classes"),
    ],
)
def test_a_hostile_config_with_a_right_checksum_is_one_line(workdir, change, message):
    settings = json.loads((workdir / "config.json").read_text())
    del settings["checksums"]
    change(settings)
    forge(workdir, settings)
    with pytest.raises(UserError, match=message):
        read_workdir(workdir)


@given(data=st.data())
@READ_ONLY
def test_any_hostile_config_is_one_line(trained, tmp_path, data):
    for name in FILES:
        shutil.copy(trained / name, tmp_path)
    settings = json.loads((trained / "config.json").read_text())
    del settings["checksums"]
    forge(tmp_path, data.draw(hostile(settings)))
    check_refusal(lambda: read_workdir(tmp_path))


@given(data=st.data())
@READ_ONLY
def test_any_hostile_description_of_the_data_is_one_line(trained, tmp_path, data):
    for name in FILES:
        shutil.copy(trained / name, tmp_path)
    described = data.draw(hostile(json.loads((trained / "data.json").read_text())))
    forge(tmp_path, data=json.dumps(described).encode())
    check_refusal(lambda: read_workdir(tmp_path))


@pytest.mark.parametrize("name", FILES)
def test_a_pipe_or_a_huge_file_is_damage(workdir, name):
    os.truncate(workdir / name, 10**10)
    with pytest.raises(UserError, match=f"{workdir} is damaged .*{name} has 10,000,000,000 bytes, more than"):
        read_workdir(workdir)
    (workdir / name).unlink()
    os.mkfifo(workdir / name)
    with pytest.raises(UserError, match=f"{workdir} is damaged .*{name} is not a regular file"):
        read_workdir(workdir)


def test_a_workdir_of_an_earlier_snapshot_is_refused_with_what_to_do(workdir):
    settings = json.loads((workdir / "config.json").read_text())
    del settings["checksums"]
    (workdir / "config.json").write_text(json.dumps(settings))
    with pytest.raises(
        UserError, match=r"another version of alexnet_jax \(it has no checksums\): train again"
    ):
        read_workdir(workdir)


def test_a_workdir_is_intact_after_a_kill_between_two_files(workdir, monkeypatch):
    """The settings and the place of the data may change when a run resumes."""
    config, info = read_workdir(workdir)
    config.num_steps, moved = 99, dataclasses.replace(info, source="folder:/elsewhere")
    from alexnet_jax import files

    write, written = files.write, []

    def killed(path, content):
        if len(written) == when:
            raise KeyboardInterrupt
        written.append(path)
        write(path, content)

    for when in range(3):
        written.clear()
        with monkeypatch.context() as patch:
            patch.setattr(files, "write", killed)
            with contextlib.suppress(KeyboardInterrupt):
                write_workdir(workdir, config, moved)
        again, info_again = read_workdir(workdir)
        assert info_again.fingerprint == info.fingerprint
        assert again.num_steps == (40 if when == 0 else 99)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("source", "folder:\0", "data.source has a NUL character"),
        ("source", "folder:" + "a/" * 10**5, "data.source has .* more than 4,096 characters"),
        ("cache_dir", "a" * 5000, "data.cache_dir has"),
    ],
)
def test_a_setting_with_impossible_text_is_refused(workdir, key, value, message):
    """Otherwise such a path would end in a traceback, or take hours to resolve."""
    settings = json.loads((workdir / "config.json").read_text())
    del settings["checksums"]
    settings["data"][key] = value
    forge(workdir, settings)
    with pytest.raises(UserError, match=message):
        read_workdir(workdir)


@pytest.mark.parametrize(
    "key", ["num_epochs", "log_every_epochs", "eval_every_epochs", "checkpoint_every_epochs"]
)
def test_more_epochs_than_can_be_counted_in_steps_are_refused(workdir, key):
    settings = json.loads((workdir / "config.json").read_text())
    del settings["checksums"]
    settings[key] = 1e308
    forge(workdir, settings)
    with pytest.raises(UserError, match=f"{key} is 1e[+]308, but must be positive and at most"):
        read_workdir(workdir)
