"""The cache is complete or absent, its images and statistics are right, and damage is reported by file."""

import dataclasses
import errno
import json
import os
import shutil
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alexnet_jax import UserError
from alexnet_jax.data import cache as cache_lib
from alexnet_jax.data.cache import DataInfo, NoTestSplit, load
from alexnet_jax.data.dataset import cache_path, class_count, open_cache
from alexnet_jax.errors import RunError
from tests.hostile import READ_ONLY, check_refusal, hostile


@pytest.fixture
def data(tiny, tmp_path):
    tiny.data.cache_dir = str(tmp_path)
    return tiny.data


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EACCES])
def test_a_file_that_the_system_cannot_read_is_not_called_damaged(data, number, monkeypatch):
    path = open_cache(data, print).directory

    def fail(*args):
        raise OSError(number, os.strerror(number), str(path / "train.labels.npy"))

    monkeypatch.setattr(cache_lib, "_checksum", fail)
    with pytest.raises(RunError, match=f"can't be read .{os.strerror(number)}., and may be intact: remove"):
        load(path)


def test_digits_hold_out_a_stratified_fifth_and_a_tenth(data):
    found = open_cache(data, print)
    assert found.info.splits == {"train": 1293, "validation": 144, "test": 360}
    assert np.bincount(found.labels["test"]).min() >= 35
    assert found.images["train"].shape == (1293, 8, 8, 3)
    everything = np.concatenate([found.images[name][:].reshape(-1, 192) for name in found.info.splits])
    assert everything.dtype == np.uint8
    from sklearn.datasets import load_digits

    assert sorted(map(bytes, everything[:, ::3])) == sorted(
        map(bytes, np.rint(load_digits().data * 255 / 16).astype(np.uint8))
    )


def test_without_validation_all_examples_are_for_training(data):
    data.validation = 0.0
    assert open_cache(data, print).info.splits == {"train": 1437, "test": 360}


def test_statistics_are_of_the_training_split(data):
    found = open_cache(data, print)
    images = found.images["train"][:].astype(np.float64)
    np.testing.assert_allclose(found.info.mean_image, images.mean(0), rtol=1e-6)
    covariance = np.cov(images.reshape(-1, 3).T, bias=True)
    np.testing.assert_allclose(found.info.color_covariance, covariance, rtol=1e-9)


def test_a_second_run_reads_what_the_first_one_wrote(data, monkeypatch):
    first = open_cache(data, print)
    monkeypatch.setattr("alexnet_jax.data.build.open_source", lambda *_: pytest.fail("prepared again"))
    assert open_cache(data, print).info.fingerprint == first.info.fingerprint


def test_a_jpeg_cache_is_close_to_the_raw_one(data):
    data.image_size = 32
    raw = open_cache(data, print)
    data.encoding = "jpeg"
    jpeg = open_cache(data, print)
    np.testing.assert_array_equal(raw.labels["train"], jpeg.labels["train"])
    difference = raw.images["train"][:100].astype(int) - jpeg.images["train"][:100]
    assert 0 < np.abs(difference).mean() < 2
    np.testing.assert_array_equal(raw.info.mean_image, jpeg.info.mean_image)


@pytest.mark.parametrize(
    "name", ["data.json", "manifest.json", "train-00000.images", "test.labels.npy", "mean_image.npy"]
)
@pytest.mark.parametrize("damage", ["cut", "changed", "removed"])
def test_damage_is_reported_and_the_file_is_not_changed(data, name, damage):
    path = open_cache(data, print).directory / name
    content = bytearray(path.read_bytes())
    if damage == "removed":
        path.unlink()
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else content)
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(UserError, match=r"damaged.*prepare --force"):
        open_cache(data, print)
    assert (path.read_bytes() if path.exists() else None) == before


def test_the_images_of_a_large_cache_are_verified_only_by_prepare(data, monkeypatch):
    monkeypatch.setattr(cache_lib, "_QUICK", 1000)
    path = open_cache(data, print).directory / "train-00000.images"
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    open_cache(data, print)
    with pytest.raises(UserError, match=r"train-00000.images has a wrong checksum"):
        load(cache_path(data), whole=True)
    os.truncate(path, 5000)  # a truncated file is found at each opening, at any size
    with pytest.raises(UserError, match=r"train-00000.images has 5,000 of 248,256 bytes"):
        open_cache(data, print)


def test_info_is_read_as_it_was_saved(data, tmp_path):
    info = open_cache(data, print).info
    again = DataInfo.load(tmp_path, info.save(tmp_path))
    np.testing.assert_array_equal(again.mean_image, info.mean_image)
    np.testing.assert_array_equal(again.color_covariance, info.color_covariance)
    arrays = ("mean_image", "color_covariance")
    assert {k: v for k, v in vars(again).items() if k not in arrays} == {
        k: v for k, v in vars(info).items() if k not in arrays
    }


def test_the_split_to_test_on_is_test_or_validation_or_the_one_named(data):
    info = open_cache(data, print).info
    assert info.test_split() == "test"
    assert info.test_split("train") == "train"
    without_test = dataclasses.replace(info, splits={"train": 9, "validation": 3})
    assert without_test.test_split() == "validation"
    with pytest.raises(UserError, match="no split 'test': sklearn:digits has train, validation"):
        without_test.test_split("test")
    only_train = dataclasses.replace(info, splits={"train": 9})
    assert only_train.test_split("train") == "train"
    with pytest.raises(NoTestSplit, match=r"set config\.data\.validation to hold some out"):
        only_train.test_split()


def test_the_manifest_names_every_file_but_itself(data):
    path = open_cache(data, print).directory
    named = set(json.loads((path / "manifest.json").read_text()))
    assert {file.name for file in path.iterdir()} == named | {"manifest.json"}


def forged(path, **files):
    """Write files of a cache with right checksums, as a stranger can."""
    manifest = json.loads((path / "manifest.json").read_text())
    for name, content in files.items():
        full = next(each for each in manifest if each.replace(".", "_").startswith(name))
        (path / full).write_bytes(content)
        manifest[full] = (len(content), zlib.crc32(content))
    (path / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("test_labels", np.full(360, 10, np.int32), "test.labels.npy has a label that is not a class"),
        ("test_labels", np.full(360, -1, np.int32), "test.labels.npy has a label that is not a class"),
        ("test_labels", np.zeros(359, np.int32), r"test.labels.npy holds int32 of shape \(359,\)"),
        ("test_offsets", np.zeros(361, np.int64), "test.offsets.npy does not fit the images"),
        ("test_offsets", np.arange(361) * 2**40, "test.offsets.npy does not fit the images"),
    ],
)
def test_labels_and_offsets_must_fit_even_if_their_checksums_are_right(data, name, array, message):
    path = open_cache(data, print).directory
    forged(path, **{name: cache_lib.content_of(array)})
    with pytest.raises(UserError, match=f"{message}.*prepare --force"):
        open_cache(data, print)


def test_a_manifest_names_no_file_outside_the_cache(data, tmp_path):
    (tmp_path / "mine.images").write_bytes(b"mine")
    path = open_cache(data, print).directory
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"../mine.images": (4, zlib.crc32(b"mine"))}))
    with pytest.raises(UserError, match=r"a key is \.\./mine\.images, but must be the name of a file"):
        open_cache(data, print)


def test_a_pipe_in_a_cache_is_damage(data):
    path = open_cache(data, print).directory
    (path / "test-00000.images").unlink()
    os.mkfifo(path / "test-00000.images")
    with pytest.raises(UserError, match=r"test-00000\.images is not a regular file"):
        open_cache(data, print)


@pytest.mark.parametrize("name", ["manifest.json", "data.json"])
@given(draws=st.data())
@READ_ONLY
def test_any_hostile_json_of_a_cache_is_one_line(tiny, cache_dir, tmp_path, name, draws):
    path = open_cache(tiny.data, print).directory
    copy = tmp_path / "cache"
    shutil.copytree(path, copy, dirs_exist_ok=True)
    content = json.dumps(draws.draw(hostile(json.loads((path / name).read_text())))).encode()
    if name == "manifest.json":
        (copy / name).write_bytes(content)
    else:
        forged(copy, data_json=content)
    check_refusal(lambda: load(copy))


def test_nothing_is_written_through_a_link_beside_a_cache(data, tmp_path):
    path = cache_path(data)
    (tmp_path / "mine").mkdir()
    for name in ("lock", "building", "parts"):
        link = path.with_name(f"{path.name}.{name}")
        link.symlink_to(tmp_path / "mine")
        with pytest.raises(UserError, match=f"{link} is a symbolic link to {tmp_path}/mine"):
            open_cache(data, print)
        link.unlink()
    assert not list((tmp_path / "mine").iterdir())


def test_the_number_of_classes_is_read_from_an_intact_file(data):
    path = open_cache(data, print).directory / "data.json"
    path.write_text(path.read_text().replace('"9"', '"8"'))
    with pytest.raises(UserError, match=r"data\.json has a wrong checksum"):
        class_count(data)
