"""The splits and the classes of a folder. What may be either is refused in a line with the remedy."""

import unicodedata

import pytest

from alexnet_jax import UserError
from alexnet_jax.data.sources import open_source
from tests.data.test_folder import fill, sizes


def make(root, *names, count=3):
    """Make folders of images. A name that ends in / becomes an empty folder."""
    for name in names:
        if name.endswith("/"):
            (root / name).mkdir(parents=True)
        else:
            fill(root / name, count)
    return root


def opened(root):
    return open_source(f"folder:{root}", 0.0, 0.0)


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("train", "val", "test"),
        ("Training", "Validation", "Testing"),
        ("TRAIN", "Valid", "TEST"),
        ("training ", "valid", "testing"),
    ],
)
def test_splits_have_usual_names_in_any_letter_case(train, validation, test, tmp_path):
    for split in (train, validation, test):
        make(tmp_path / split, "cat", "dog")
    source = opened(tmp_path)
    assert source.class_names == ("cat", "dog")
    assert sizes(source) == {"train": 6, "validation": 6, "test": 6}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        # Two folders for one split.
        (
            ["val/cat", "valid/cat", "train/cat", "train/dog"],
            "ROOT has both val and valid, which are names of the validation split: rename or remove one of"
            " them",
        ),
        (
            ["Train/cat", "train/cat", "train/dog"],
            "ROOT has both Train and train, which are names of the train split: rename or remove one of them",
        ),
        # Classes called train and test.
        (
            ["airplane", "bus", "train"],
            "ROOT has train, which may be a split or a class, beside airplane, bus: if all are classes, move"
            " all of them into ROOT/train; otherwise move only airplane, bus there, or out of ROOT",
        ),
        (
            ["a", "b", "c", "d", "test/a"],
            "ROOT has test, which may be a split or a class, beside a, b, c, ...: if all are classes, move"
            " all of them into ROOT/train; otherwise move only a, b, c, ... there, or out of ROOT",
        ),
        (["train", "test", "bus"], "ROOT has test, train, which may be a split or a class, beside bus: "),
        (
            ["train/cat", "train/dog", "extra"],
            "ROOT has train, which may be a split or a class, beside extra",
        ),
        # Splits under other names.
        (
            ["train_images", "test_images"],
            "ROOT has test_images, train_images: if these are splits, name them train, val and test; if they"
            " are classes, move all classes into ROOT/train",
        ),
        (
            ["seg_train/seg_train/sea", "seg_test/seg_test/sea", "seg_pred"],
            "ROOT has seg_test, seg_train: if",
        ),
        (["TrainSet/cat", "ValSet/cat"], "ROOT has TrainSet, ValSet: if these are splits"),
        (["imagesTrain2014/cat", "imagesTrain2014/dog", "more"], "ROOT has imagesTrain2014: if these are"),
        (
            ["train/cat", "train/dog", "val/cat", "test_set/cat", "test_set/dog"],
            "ROOT has test_set beside train, val: if it is a split, name it train, val or test; otherwise"
            " move it out of ROOT",
        ),
        (
            ["train/cat", "train/dog", "dev/cat", "dev/dog"],
            "ROOT has dev beside train: if it is a split, name",
        ),
        (["Trainingsdaten/cat", "Testdaten/cat"], "ROOT has Testdaten, Trainingsdaten: if these are splits"),
        # Other levels.
        (
            ["cat/train", "cat/test", "dog/train"],
            "ROOT has the splits test, train inside cat, dog: put the splits first, as in ROOT/train/cat",
        ),
        (
            ["photo/cat", "photo/dog", "sketch/cat", "sketch/dog"],
            "ROOT has the same folders, cat, dog, inside each of photo, sketch: if those are the classes,"
            " choose one folder, such as folder:ROOT/photo, or name the folders train, val and test; if these"
            " are the classes, move them into ROOT/train",
        ),
        (
            ["train/train/cat", "train/train/dog", "test/test/cat"],
            "ROOT/train has folders with the names of splits, train, in place of classes: move the folders of"
            " the classes into ROOT/train",
        ),
        (
            ["flowers/rose", "flowers/lily"],
            "ROOT has images of only one class, flowers: set folder:ROOT/flowers if lily, rose are the"
            " classes or the splits",
        ),
        (
            ["set/train/cat", "set/train/dog", "set/test/cat"],
            "ROOT has images of only one class, set: set folder:ROOT/set if test, train are the classes or"
            " the splits",
        ),
        (
            ["train_images/cat", "train_images/dog"],
            "ROOT has images of only one class, train_images: set folder:ROOT/train_images if cat, dog are",
        ),
        # Splits without classes.
        (
            ["train", "test"],
            "ROOT/train has images, but no folders of images: put the images of each class into a folder with"
            " the name of the class",
        ),
        (["train/", "val/cat"], "ROOT/train has no images: put a folder of images for each class into"),
        (["test/cat", "logs/"], "ROOT has a folder for test, but none for training: add ROOT/train"),
    ],
    ids=lambda x: "+".join(x) if isinstance(x, list) else "",
)
def test_what_may_be_splits_or_classes_is_refused(names, message, tmp_path):
    with pytest.raises(UserError) as refused:
        opened(make(tmp_path, *names))
    assert "\n" not in str(refused.value)
    assert str(refused.value).replace(str(tmp_path), "ROOT").startswith(f"config.data.source: {message}")


@pytest.mark.parametrize(
    "names",
    [
        ["steam train", "express train", "bus"],
        ["contest", "latest", "strain", "interval", "valley"],
        ["cat/day", "cat/night", "dog", "dog/day"],
        ["cat/day", "dog/night"],
        ["2019/a", "2019/b", "2020/a"],
    ],
)
def test_classes_whose_names_are_like_those_of_splits(names, tmp_path):
    source = opened(make(tmp_path, *names))
    assert source.class_names == tuple(sorted({name.partition("/")[0] for name in names}))


def test_classes_that_are_called_train_and_test_lie_in_the_folder_of_a_split(tmp_path):
    source = opened(make(tmp_path, "train/bus", "train/train", "train/test"))
    assert source.class_names == ("bus", "test", "train")


def test_what_lies_beside_splits_and_classes_is_counted(tmp_path):
    make(tmp_path, "train/cat", "train/dog", "train/fish/", "val/cat", "test", "unlabelled", "logs/")
    for name in ("cover.png", "train/stray.png", "train/dog/notes.txt"):
        (tmp_path / name).write_bytes(b"")
    source = opened(tmp_path)
    assert sizes(source) == {"train": 6, "validation": 3}
    assert source.left_out == {
        "folders beside the splits": ["unlabelled"],
        "folders without images": ["logs", "train/fish"],
        "images that lie in no split": ["cover.png"],
        "images that lie in no class": ["test/000.png", "test/001.png", "test/002.png", "train/stray.png"],
        "files that are not images (1 .txt)": ["train/dog/notes.txt"],
    }
    assert "validation has no images of 1 of the 2 classes: dog" in source.report()


COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


def test_a_class_may_be_composed_in_one_split_and_decomposed_in_another(tmp_path):
    make(tmp_path, f"train/{DECOMPOSED}", "train/z", f"val/{COMPOSED}", "val/z")
    source = opened(tmp_path)
    assert source.class_names == (COMPOSED, "z")
    assert sizes(source) == {"train": 6, "validation": 6}


def test_a_class_that_is_composed_and_decomposed_in_one_split_is_refused(tmp_path):
    make(tmp_path, COMPOSED, DECOMPOSED)
    with pytest.raises(UserError, match=f"two folders whose name is {COMPOSED}, composed and decomposed"):
        opened(tmp_path)
