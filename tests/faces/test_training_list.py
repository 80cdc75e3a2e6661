"""The list of images for a training on people."""

import re

import pytest

from alexnet_jax.data.csv_list import open_csv
from alexnet_jax.data.source import Options
from alexnet_jax.errors import UserError
from alexnet_jax.faces.lfw import people_of, read_pairs
from alexnet_jax.faces.training_list import write_list


@pytest.mark.parametrize("place", ["list.csv", "lfw/list.csv", "lfw/images/list.csv"])
def test_the_list_is_a_source_of_the_people_with_enough_images(lfw, tmp_path, place):
    path = tmp_path / place
    assert write_list(lfw.root, lfw.root / "peopleDevTrain.txt", 4, path) == (6, 30)
    source = open_csv(str(path), Options(None, 0.0))
    assert source.class_names == tuple(name for name in lfw.trained_on if name[-1] in "012")
    assert sum(len(split) for split in source.splits.values()) == 30


def test_people_of_the_list_are_not_in_the_pairs_of_the_test(lfw, tmp_path):
    write_list(lfw.root, lfw.root / "peopleDevTrain.txt", 2, tmp_path / "list.csv")
    listed = {line.rpartition(",")[2] for line in (tmp_path / "list.csv").read_text().splitlines()[1:]}
    assert listed == set(lfw.trained_on)
    assert not listed & people_of(read_pairs(lfw.root / "pairsDevTest.txt")[0])


def test_a_list_of_missing_images_or_of_nobody_is_refused(lfw, tmp_path):
    people = lfw.root / "peopleDevTrain.txt"
    with pytest.raises(UserError, match=re.escape(f"0 of the 12 people in {people} have 6 images or more")):
        write_list(lfw.root, people, 6, tmp_path / "list.csv")
    (lfw.images / "Person_A1" / "Person_A1_0005.jpg").unlink()
    with pytest.raises(UserError, match=r"1 of the 30 images in .* .the first is Person_A1/Person_A1_0005"):
        write_list(lfw.root, people, 4, tmp_path / "list.csv")
    assert not (tmp_path / "list.csv").exists()
