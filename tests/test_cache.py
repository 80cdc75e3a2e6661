"""The cache: whole or not there, its statistics right, its source a user can put right."""

import multiprocessing
import os

import numpy as np
import pytest

from alexnet_jax import UserError, cache, sources
from alexnet_jax.cache import DataInfo, cache_path, open_cache


@pytest.fixture
def data(tiny, tmp_path):
    tiny.data.cache_dir = str(tmp_path)
    return tiny.data


def test_digits_hold_out_a_stratified_fifth_and_a_tenth(data):
    found = open_cache(data, print)
    assert found.info.splits == {"train": 1293, "validation": 144, "test": 360}
    assert np.bincount(found.labels["test"]).min() >= 35
    assert found.images["train"].dtype == np.uint8
    assert found.images["train"].max() == 255
    everything = np.concatenate([found.images[name].reshape(-1, 192) for name in found.info.splits])
    from sklearn.datasets import load_digits

    assert sorted(map(bytes, everything[:, ::3])) == sorted(
        map(bytes, np.rint(load_digits().data * 255 / 16).astype(np.uint8))
    )


def test_no_validation_gives_all_to_training(data):
    data.validation = 0.0
    assert open_cache(data, print).info.splits == {"train": 1437, "test": 360}


def test_statistics_are_of_the_training_split(data):
    found = open_cache(data, print)
    images = found.images["train"].astype(np.float64)
    np.testing.assert_allclose(found.info.mean_image, images.mean(0), rtol=1e-5)
    covariance = np.cov(images.reshape(-1, 3).T, bias=True)
    np.testing.assert_allclose(found.info.color_covariance, covariance, rtol=1e-9)


def test_a_second_run_reads_what_the_first_one_wrote(data, monkeypatch):
    first = open_cache(data, print)
    monkeypatch.setattr(cache, "open_source", lambda *_: pytest.fail("prepared again"))
    assert open_cache(data, print).info.fingerprint == first.info.fingerprint


def test_other_settings_make_another_cache(data):
    first = open_cache(data, print)
    data.validation = 0.2
    second = open_cache(data, print)
    assert first.directory != second.directory
    assert first.info.fingerprint != second.info.fingerprint


def test_a_preparation_that_dies_leaves_nothing_that_looks_whole(data, monkeypatch):
    def dies(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cache, "_statistics", dies)
        with pytest.raises(KeyboardInterrupt):
            open_cache(data, print)
    assert [path.suffix for path in cache_path(data).parent.iterdir()] == [".lock"]
    assert open_cache(data, print).info.splits["train"] == 1293


def _prepare(settings, said):
    open_cache(settings, said.append)


def test_of_several_processes_one_prepares(data):
    with multiprocessing.get_context("spawn").Manager() as manager:
        said = manager.list()
        context = multiprocessing.get_context("spawn")
        processes = [context.Process(target=_prepare, args=(data, said)) for _ in range(2)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0, 0]
        assert len([line for line in said if line.startswith("preparing")]) == 1


@pytest.mark.parametrize("name", ["data.json", "train.images.npy", "test.labels.npy", "mean_image.npy"])
def test_a_damaged_cache_is_named(data, name):
    path = open_cache(data, print).directory / name
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(UserError, match=r"damaged.*remove it"):
        open_cache(data, print)


def test_a_cache_that_cannot_be_written(data, tmp_path):
    (tmp_path / "file").write_text("")
    data.cache_dir = str(tmp_path / "file")
    with pytest.raises(UserError, match="can't be made"):
        open_cache(data, print)


def test_images_of_another_size_are_refused_and_leave_nothing(data):
    data.image_size = 9
    with pytest.raises(UserError, match=r"image_size is 9, but an image of train has the shape \(8, 8, 3\)"):
        open_cache(data, print)
    assert not cache_path(data).exists()


def test_info_survives_a_workdir(data, tmp_path):
    info = open_cache(data, print).info
    info.save(tmp_path)
    again = DataInfo.load(tmp_path)
    np.testing.assert_array_equal(again.mean_image, info.mean_image)
    np.testing.assert_array_equal(again.color_covariance, info.color_covariance)
    assert (again.fingerprint, again.class_names, again.splits) == (
        info.fingerprint,
        info.class_names,
        info.splits,
    )


def test_cifar10_from_tfds_is_all_there(cifar10_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", cifar10_dir)
    source = sources.open_source("tfds:cifar10", 5000.0)
    assert {name: split.count for name, split in source.splits.items()} == {
        "train": 45_000,
        "validation": 5000,
        "test": 10_000,
    }
    assert source.class_names[:2] == ("airplane", "automobile")
    image, label = source.splits["test"].read(3)
    assert (image.shape, image.dtype) == ((32, 32, 3), np.uint8)
    assert 0 <= label < 10


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tfds:cifar11", "no data set cifar11 .did you mean cifar10"),
        ("tfds:mnist", "has not prepared mnist in .*file_format=array_record"),
        ("tfds:", "must be tfds:NAME or sklearn:digits"),
        ("sklearn:iris", "must be tfds:NAME or sklearn:digits"),
    ],
)
def test_a_source_that_is_not_there(name, message, monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(UserError, match=message):
        sources.open_source(name, 0.0)
    assert not list(tmp_path.iterdir())


def test_more_validation_than_there_is():
    with pytest.raises(UserError, match="only 1437 training examples"):
        sources.open_source("sklearn:digits", 1437.0)
