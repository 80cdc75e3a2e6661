"""The sources by name, and the splits that are made where a data set has none."""

import pytest

from alexnet_jax import UserError
from alexnet_jax.data import tfds as tfds_source
from alexnet_jax.data.sources import open_source
from tests.data.test_folder import everything, fill


def test_half_of_what_tfds_has_for_training_alone_for_testing(tmp_path, monkeypatch):
    for name in ("cat", "dog"):
        fill(tmp_path / "train" / name, 50)
    everything_of = open_source(f"folder:{tmp_path}", 0.0)
    monkeypatch.setattr(tfds_source, "open_tfds", lambda name: everything_of)
    splits, again = (open_source("tfds:fall2009", 0.1, 0.5).splits for _ in range(2))
    assert {name: len(split) for name, split in splits.items()} == {"train": 45, "validation": 5, "test": 50}
    assert len({example for split in splits.values() for example in everything(split)}) == 100
    assert all(everything(splits[name]) == everything(again[name]) for name in splits)


def test_more_validation_than_there_is():
    with pytest.raises(UserError, match="only 1437 training examples"):
        open_source("sklearn:digits", 1437.0)
