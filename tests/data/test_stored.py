"""The images of a cache are read at any position, and damage is an error."""

import os

import numpy as np
import pytest

from alexnet_jax.data.dataset import open_cache
from alexnet_jax.errors import RunError


@pytest.fixture
def data(tiny, tmp_path):
    tiny.data.cache_dir = str(tmp_path)
    return tiny.data


def test_any_rows_in_any_order_from_many_files(data, monkeypatch):
    monkeypatch.setattr("alexnet_jax.data.shards._SMALLEST", 192 * 100)
    found = open_cache(data, print)
    assert len(list(found.directory.glob("train-*.images"))) == 13
    everything = found.images["train"][:]
    rows = np.random.default_rng(0).integers(0, 1293, 500)
    np.testing.assert_array_equal(found.images["train"][rows], everything[rows])
    np.testing.assert_array_equal(found.images["train"][-3:], everything[-3:])
    with pytest.raises(IndexError):
        found.images["train"][[1293]]


def test_all_jpegs_of_a_batch_are_announced_before_the_first_is_read(data, monkeypatch):
    data.encoding, data.image_size = "jpeg", 16
    found, calls = open_cache(data, print), []
    pread = os.pread
    monkeypatch.setattr(os, "posix_fadvise", lambda *where: calls.append(("advice", where[:3])))
    monkeypatch.setattr(os, "pread", lambda *what: calls.append(("read", what)) or pread(*what))
    found.images["train"][[700, 3, 5]]
    assert [call[0] for call in calls] == ["advice"] * 3 + ["read"] * 3
    advised, read = ([where for kind, where in calls if kind == which] for which in ("advice", "read"))
    assert advised == [(file, start, length) for file, length, start in read]


def test_damage_that_is_found_while_reading_is_an_error(data):
    data.encoding, data.image_size = "jpeg", 16
    found = open_cache(data, print)
    path = found.directory / "train-00000.images"
    path.write_bytes(b"\0" * path.stat().st_size)
    with pytest.raises(RunError, match=r"train-00000.images is damaged"):
        found.images["train"][:1]
    os.truncate(path, 10)
    with pytest.raises(RunError, match=r"train-00000.images is damaged"):
        found.images["train"][100:101]
