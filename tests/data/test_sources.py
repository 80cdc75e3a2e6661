"""Where images come from: TFDS in both formats, folders of any shape; what is missing is said in one line."""

import os
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from alexnet_jax import UserError
from alexnet_jax.data import tfds as tfds_source
from alexnet_jax.data.class_words import words_of
from alexnet_jax.data.sources import open_source


def fill(directory, count, start=0):
    """A folder with so many small images."""
    directory.mkdir(parents=True)
    for i in range(start, start + count):
        Image.new("RGB", (6, 4), (i % 256, 0, 0)).save(directory / f"{i:03}.png")
    return directory


def everything(split):
    return [(split[i].name, split[i].label) for i in range(len(split))]


# ---- Folders ----------------------------------------------------------------------------------------


def test_a_folder_of_classes_is_split_80_10_10_for_ever(tmp_path):
    for name in ("cat", "dog"):
        fill(tmp_path / name, 50)
    source = open_source(f"folder:{tmp_path}", 0.1)
    assert source.class_names == ("cat", "dog")
    counts = {name: len(split) for name, split in source.splits.items()}
    assert counts == {"train": 80, "validation": 10, "test": 10}
    seen = [example for split in source.splits.values() for example in everything(split)]
    assert len(set(seen)) == 100
    assert all(label == ("dog" in Path(name).parts) for name, label in seen)
    again = open_source(f"folder:{tmp_path}", 0.1)
    assert all(everything(again.splits[name]) == everything(source.splits[name]) for name in counts)


def test_half_of_a_folder_without_splits_for_testing(tmp_path):
    """ImageNet of Fall 2009: "half of the images for training and half for testing"."""
    for name in ("cat", "dog"):
        fill(tmp_path / name, 50)
    for validation, counts in (
        (0.0, {"train": 50, "test": 50}),
        (0.1, {"train": 45, "validation": 5, "test": 50}),
    ):
        splits = open_source(f"folder:{tmp_path}", validation, 0.5).splits
        assert {name: len(split) for name, split in splits.items()} == counts
        assert len({example for split in splits.values() for example in everything(split)}) == 100


def test_half_of_what_tfds_has_for_training_alone_for_testing(tmp_path, monkeypatch):
    for name in ("cat", "dog"):
        fill(tmp_path / "train" / name, 50)
    everything_of = open_source(f"folder:{tmp_path}", 0.0)
    monkeypatch.setattr(tfds_source, "open_tfds", lambda name: everything_of)
    splits, again = (open_source("tfds:fall2009", 0.1, 0.5).splits for _ in range(2))
    assert {name: len(split) for name, split in splits.items()} == {"train": 45, "validation": 5, "test": 50}
    assert len({example for split in splits.values() for example in everything(split)}) == 100
    assert all(everything(splits[name]) == everything(again[name]) for name in splits)


def test_a_folder_of_splits_keeps_them(tmp_path):
    for split, count in (("train", 20), ("val", 5), ("test", 7)):
        fill(tmp_path / split / "cat" / "at_night", count)
        fill(tmp_path / split / "dog", count)
    source = open_source(f"folder:{tmp_path}", 0.1)
    assert {name: len(split) for name, split in source.splits.items()} == {
        "train": 40,
        "validation": 10,
        "test": 14,
    }


def test_without_a_validation_folder_a_part_of_training_is_held_out(tmp_path):
    for name in ("cat", "dog"):
        fill(tmp_path / "train" / name, 20)
        fill(tmp_path / "test" / name, 5)
    splits = open_source(f"folder:{tmp_path}", 0.1).splits
    assert {name: len(split) for name, split in splits.items()} == {"train": 36, "validation": 4, "test": 10}


def test_test_images_without_labels_are_left_out(tmp_path):
    for name in ("train/cat", "train/dog", "test"):
        fill(tmp_path / name, 10)
    assert list(open_source(f"folder:{tmp_path}", 0.1).splits) == ["train", "validation"]


def test_links_and_names_of_all_kinds(tmp_path):
    for name in ("cat", "dog"):
        fill(tmp_path / name, 5)
    (tmp_path / "cat" / "up").symlink_to(tmp_path)
    (tmp_path / "cat" / "again").symlink_to(tmp_path / "cat")
    (tmp_path / "dog" / "000.png").rename(tmp_path / "dog" / os.fsdecode(b"\xff\xfe.png"))
    splits = open_source(f"folder:{tmp_path}", 0.0).splits
    examples = [split[i] for split in splits.values() for i in range(len(split))]
    assert all(example.content().startswith(b"\x89PNG") for example in examples)
    # What a link leads to is there, once; a link to where it came from is not followed.
    assert len(examples) == 5 + 5 + 5


def test_what_is_no_image_by_its_name_is_left_alone(tmp_path):
    for name in ("cat", "dog"):
        fill(tmp_path / name, 5)
        (tmp_path / name / "notes.txt").write_text("a note")
        (tmp_path / name / "._001.png").write_text("a shadow")
    fill(tmp_path / ".thumbnails", 5)
    source = open_source(f"folder:{tmp_path}", 0.0)
    assert source.class_names == ("cat", "dog")
    assert sum(map(len, source.splits.values())) == 10


def test_the_version_follows_the_files(tmp_path):
    for name in ("cat", "dog"):
        fill(tmp_path / "here" / name, 5)
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    version = open_source(f"folder:{tmp_path}/here", 0.0).version
    assert open_source(f"folder:{tmp_path}/there", 0.0).version == version
    (tmp_path / "there" / "cat" / "000.png").unlink()
    assert open_source(f"folder:{tmp_path}/there", 0.0).version != version


def no_folder(root):
    return root / "nothing"


def no_classes(root):
    return fill(root / "images", 3)


def no_images(root):
    (root / "cat").mkdir()
    return root


def one_class(root):
    (root / "logs").mkdir()
    return fill(root / "cat", 3).parent


def no_train(root):
    return fill(root / "val" / "cat", 3).parent.parent


def flat_val(root):
    for name in ("train/cat", "train/dog", "val"):
        fill(root / name, 3)
    return root


def strange_class(root):
    for name in ("train/cat", "train/dog", "val/fish"):
        fill(root / name, 3)
    return root


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (no_folder, "nothing is no folder"),
        (no_classes, "has no images: a folder for each class is wanted"),
        (no_images, "has no images"),
        (one_class, "has images of one class, cat: nothing to learn"),
        (no_train, "has validation, but no train"),
        (flat_val, "val has no folders of images, one for each class"),
        (strange_class, "has fish, which train has not"),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_a_folder_that_cannot_be_learned_from(make, message, tmp_path):
    with pytest.raises(UserError, match=message):
        open_source(f"folder:{make(tmp_path)}", 0.1)


# ---- Words ------------------------------------------------------------------------------------------


def test_wordnet_ids_have_words():
    names = ("n01440764", "n03000684", "n99999999", "cat")
    assert words_of(names) == ("tench, Tinca tinca", "chain saw, chainsaw", "n99999999", "cat")
    assert words_of(("cat", "dog")) == ("cat", "dog")


@pytest.mark.parametrize("name", ["words.txt", "synset_words.txt", "LOC_synset_mapping.txt"])
def test_a_data_sets_own_words_come_first(name, tmp_path):
    (tmp_path / name).write_text("n00000001\ta thing, an object\nn00000002 another\n")
    assert words_of(("n00000001", "n00000002"), tmp_path) == ("a thing, an object", "another")


# ---- TFDS -------------------------------------------------------------------------------------------


def test_cifar10_from_tfds_is_all_there(cifar10_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", cifar10_dir)
    source = open_source("tfds:cifar10", 5000.0)
    assert {name: len(split) for name, split in source.splits.items()} == {
        "train": 45_000,
        "validation": 5000,
        "test": 10_000,
    }
    assert source.class_names[:2] == ("airplane", "automobile")
    example = source.splits["test"][3]
    assert example.content().startswith(b"\x89PNG")
    assert 0 <= example.label < 10


def record(content):
    return struct.pack("<QI", len(content), 0) + content + b"\0\0\0\0"


@pytest.fixture
def tfrecords(cifar10_dir, tmp_path):
    """The first few images of CIFAR-10, over and over, as TFDS writes them by default."""
    there = Path(cifar10_dir) / "cifar10" / "3.0.2"
    source = tfds.builder_from_directory(there).as_data_source(split="test").data_source
    here = tmp_path / "cifar10" / "3.0.2"
    here.mkdir(parents=True)
    for file in there.glob("*.*"):
        if file.suffix in (".json", ".txt"):
            text = file.read_text().replace("array_record", "tfrecord")
            (here / file.name).write_text(text)
    builder = tfds.builder_from_directory(here)
    for split in ("train", "test"):
        lengths = [int(n) for n in builder.info.splits[split].shard_lengths]
        for path, length in zip(builder.info.splits[split].filepaths, lengths, strict=True):
            fifty = [record(source[i]) for i in range(50)]
            Path(path).write_bytes(b"".join(fifty) * (length // 50))
    return tmp_path


def test_tfrecords_are_read_without_tensorflow(tfrecords, cifar10_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", cifar10_dir)
    expected = open_source("tfds:cifar10", 0.0).splits["test"]
    monkeypatch.setenv("TFDS_DATA_DIR", str(tfrecords))
    found = open_source("tfds:cifar10", 0.0).splits["test"]
    assert len(found) == 10_000
    for i in (0, 7, 49):
        assert (found[i].label, found[i].content()) == (expected[i].label, expected[i].content())


def test_tfrecords_that_were_cut_off(tfrecords, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tfrecords))
    path = next(tfrecords.rglob("*-test.tfrecord*"))
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(UserError, match="was cut off"):
        open_source("tfds:cifar10", 0.0)


def test_a_preparation_that_tfds_did_not_end_is_none(cifar10_dir, tmp_path, monkeypatch):
    shutil.copytree(Path(cifar10_dir) / "cifar10" / "3.0.2", tmp_path / "cifar10" / "3.0.2.incompleteAB12")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(UserError, match="has not prepared cifar10"):
        open_source("tfds:cifar10", 0.0)


def test_a_version_that_is_asked_for(cifar10_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", cifar10_dir)
    assert open_source("tfds:cifar10:3.0.2", 0.0).version == "3.0.2"
    with pytest.raises(UserError, match=r"has not prepared cifar10:9.9.9"):
        open_source("tfds:cifar10:9.9.9", 0.0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tfds:cifar11", "no data set cifar11 .did you mean cifar10"),
        (
            "tfds:mnist",
            r"has not prepared mnist in .* pip install -e '.\[tensorflow\]', and then the same",
        ),
        (
            "tfds:imagenet2012",
            "put ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar .* into .*downloads/manual,"
            " pip install .*, and then the same command again",
        ),
        ("tfds:", "must be tfds:NAME, folder:DIR or sklearn:digits"),
        ("folder:", "must be tfds:NAME, folder:DIR or sklearn:digits"),
        ("sklearn:iris", "must be tfds:NAME, folder:DIR or sklearn:digits"),
    ],
)
def test_a_source_that_is_not_there(name, message, monkeypatch, tmp_path):
    monkeypatch.setattr(tfds_source.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(UserError, match=message):
        open_source(name, 0.0)
    assert not list(tmp_path.iterdir())


def test_tfds_is_not_called_before_all_is_there(monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    calls = []
    monkeypatch.setattr(tfds_source.subprocess, "run", lambda *args, **_: calls.append(args))
    for name in ("imagenet2012", "cifar11"):
        with pytest.raises(UserError):
            tfds_source.prepare_tfds(name, print)
    assert not calls
    assert not list(tmp_path.iterdir())


def test_archives_that_are_there_are_not_asked_for(monkeypatch, tmp_path):
    monkeypatch.setattr(tfds_source.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    (tmp_path / "downloads" / "manual").mkdir(parents=True)
    (tmp_path / "downloads" / "manual" / "ILSVRC2012_img_train.tar").write_bytes(b"")
    with pytest.raises(UserError, match=r"put ILSVRC2012_img_val.tar \(from"):
        open_source("tfds:imagenet2012", 0.0)
    (tmp_path / "downloads" / "manual" / "ILSVRC2012_img_val.tar").write_bytes(b"")
    with pytest.raises(UserError, match=r"or pip install"):
        open_source("tfds:imagenet2012", 0.0)


def test_more_validation_than_there_is():
    with pytest.raises(UserError, match="only 1437 training examples"):
        open_source("sklearn:digits", 1437.0)


def test_digits_read_what_scikit_learn_has():
    example = open_source("sklearn:digits", 0.0).splits["train"][0]
    assert example.content().shape == (8, 8, 3)
    assert np.unique(example.content()).size > 2
