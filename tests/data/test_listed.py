"""Classes and splits of images in a list."""

import numpy as np
import pytest

from alexnet_jax import UserError
from alexnet_jax.data.listed import classes_of, splits_of
from alexnet_jax.data.source import Options


@pytest.mark.parametrize(
    ("labels", "names", "numbers"),
    [
        (["dog", " cat", "dog", "", "-1"], ("cat", "dog"), [1, 0, 1, -1, -1]),
        (["10", "9", "-1"], ("9", "10"), [1, 0, -1]),
        (["10", "9", "nine"], ("10", "9", "nine"), [0, 1, 2]),
        ([], (), []),
    ],
)
def test_classes(labels, names, numbers):
    found, found_numbers = classes_of(labels, "list")
    assert (found, found_numbers.tolist()) == (names, numbers)


def splits(labels, rows_by_split, validation=None, test=0.1):
    names = tuple("abcdefghij")[: max(labels) + 1]
    options = Options(validation, test)
    return splits_of(print, np.array(labels), rows_by_split, names, options, "list", {})


def rows(found):
    return {name: split.rows.tolist() for name, split in found.items()}


def test_given_splits_keep_their_rows_that_have_a_label():
    found, notes = splits([0, 1, -1, 1, -1], {"train": np.array([0, 1, 2]), "test": np.array([3, 4])})
    assert rows(found) == {"train": [0, 1], "test": [3]}
    assert notes == ()
    found, _ = splits([0, 1, -1, -1], {"train": np.array([0, 1]), "test": np.array([2, 3])})
    assert rows(found) == {"train": [0, 1]}


def test_images_without_splits_are_split_and_each_class_keeps_one_for_training():
    found, notes = splits([*[0] * 98, 1, 2], {None: np.arange(100)}, test=0.8)
    assert {name: len(split) for name, split in found.items()} == {"train": 12, "validation": 10, "test": 78}
    assert {98, 99} <= set(found["train"].rows)
    assert len(notes) == 1
    found, _ = splits([0, 1] * 50, {None: np.arange(100)}, validation=5.0)
    assert {name: len(split) for name, split in found.items()} == {"train": 90, "test": 10}


def test_a_class_without_training_images_is_refused():
    with pytest.raises(UserError, match="images of the class c in validation, but none in train"):
        splits([0, 1, 2], {"train": np.array([0, 1]), "validation": np.array([2])})
