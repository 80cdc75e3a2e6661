"""The cache is complete or absent, its images and statistics are right, and damage is reported by file."""

import dataclasses
import json
import os

import numpy as np
import pytest

from alexnet_jax import UserError
from alexnet_jax.data import cache as cache_lib
from alexnet_jax.data.cache import DataInfo, NoTestSplit, load
from alexnet_jax.data.dataset import cache_path, open_cache


@pytest.fixture
def data(tiny, tmp_path):
    tiny.data.cache_dir = str(tmp_path)
    return tiny.data


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
    info.save(tmp_path)
    again = DataInfo.load(tmp_path)
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
