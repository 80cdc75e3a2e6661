"""Folders of images in any layout. An incomplete folder is refused in one line."""

import inspect
import os
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

from alexnet_jax import UserError
from alexnet_jax.data.images import BadImage
from alexnet_jax.data.sources import open_source


def fill(directory, count, start=0):
    """Make a folder with some small images."""
    directory.mkdir(parents=True)
    for i in range(start, start + count):
        Image.new("RGB", (6, 4), (i % 256, 0, 0)).save(directory / f"{i:03}.png")
    return directory


def everything(split):
    return [(split[i].name, split[i].label) for i in range(len(split))]


def sizes(source):
    return {name: len(split) for name, split in source.splits.items()}


def test_a_folder_of_classes_is_always_split_80_10_10(tmp_path):
    for name in ("cat", "dog"):
        fill(tmp_path / name, 50)
    source = open_source(f"folder:{tmp_path}", None, 0.1)
    assert source.class_names == ("cat", "dog")
    assert sizes(source) == {"train": 80, "validation": 10, "test": 10}
    seen = [example for split in source.splits.values() for example in everything(split)]
    assert len(set(seen)) == 100
    assert all(label == ("dog" in Path(name).parts) for name, label in seen)
    again = open_source(f"folder:{tmp_path}", None, 0.1)
    assert all(everything(again.splits[name]) == everything(split) for name, split in source.splits.items())


@pytest.mark.parametrize(
    ("validation", "test", "expected"),
    [
        (None, 0.11, {"train": 79, "validation": 10, "test": 11}),
        (0.0, 0.1, {"train": 90, "test": 10}),
        (0.2, 0.1, {"train": 72, "validation": 18, "test": 10}),
        (5.0, 0.1, {"train": 85, "validation": 5, "test": 10}),
        (0.0, 0.5, {"train": 50, "test": 50}),  # ImageNet of Fall 2009, "half of the images for training"
        (0.1, 0.5, {"train": 45, "validation": 5, "test": 50}),
    ],
)
def test_the_settings_split_a_folder_of_classes(tmp_path, validation, test, expected):
    for name in ("cat", "dog"):
        fill(tmp_path / name, 50)
    source = open_source(f"folder:{tmp_path}", validation, test)
    assert sizes(source) == expected
    assert len({example for split in source.splits.values() for example in everything(split)}) == 100


def test_a_folder_of_splits_keeps_them(tmp_path):
    for split, count in (("train", 20), ("val", 5), ("test", 7)):
        fill(tmp_path / split / "cat" / "at_night", count)
        fill(tmp_path / split / "dog", count)
    source = open_source(f"folder:{tmp_path}", 0.1, 0.1)
    assert sizes(source) == {"train": 40, "validation": 10, "test": 14}


def test_without_a_validation_folder_a_part_of_training_is_held_out(tmp_path):
    for name in ("cat", "dog"):
        fill(tmp_path / "train" / name, 20)
        fill(tmp_path / "test" / name, 5)
    for validation, held_out in ((None, 4), (0.25, 10), (7.0, 7)):
        source = open_source(f"folder:{tmp_path}", validation, 0.1)
        assert sizes(source) == {"train": 40 - held_out, "validation": held_out, "test": 10}


def test_test_images_without_labels_are_left_out(tmp_path):
    for name in ("train/cat", "train/dog", "test"):
        fill(tmp_path / name, 10)
    assert list(open_source(f"folder:{tmp_path}", 0.1, 0.1).splits) == ["train", "validation"]


def test_links_and_names_that_are_not_utf8(tmp_path):
    for name in ("cat", "dog"):
        fill(tmp_path / name, 5)
    (tmp_path / "cat" / "up").symlink_to(tmp_path)
    (tmp_path / "cat" / "again").symlink_to(tmp_path / "cat")
    (tmp_path / "dog" / "000.png").rename(tmp_path / "dog" / os.fsdecode(b"\xff\xfe.png"))
    splits = open_source(f"folder:{tmp_path}", 0.0, 0.1).splits
    examples = [split[i] for split in splits.values() for i in range(len(split))]
    assert all(example.content().startswith(b"\x89PNG") for example in examples)
    # Each folder is read once, for the class in which it lies.
    assert len(examples) == 5 + 5


def test_folders_inside_classes_are_reported_if_all_images_lie_there(tmp_path):
    for name in ("animals/cat", "animals/dog", "vehicles/car/old"):
        fill(tmp_path / "train" / name, 3)
    note = (
        "folders inside the classes, which are not classes themselves: animals/cat, animals/dog, vehicles/car"
    )
    assert open_source(f"folder:{tmp_path}", 0.0, 0.1).notes == (note,)
    assert open_source(f"folder:{tmp_path}/train", 0.0, 0.0).notes == (note,)
    fill(tmp_path / "train" / "boats", 1)
    assert open_source(f"folder:{tmp_path}", 0.0, 0.1).notes == ()


def names_by_class(source):
    """Return the names of the examples of each class, relative to the folder."""
    examples = [split[i] for split in source.splits.values() for i in range(len(split))]
    found = {name: [] for name in source.class_names}
    for example in examples:
        found[source.class_names[example.label]].append(os.path.relpath(example.name, source.folder))
    return {name: sorted(names) for name, names in found.items()}


def test_folders_that_link_to_each_other_are_read_once(tmp_path):
    folders = [fill(tmp_path / f"{i:02}", 1) for i in range(12)]
    for here in folders:
        for there in folders:
            if here != there:
                (here / f"to_{there.name}").symlink_to(there)
    found = names_by_class(open_source(f"folder:{tmp_path}", 0.0, 0.1))
    assert found == {folder.name: [f"{folder.name}/000.png"] for folder in folders}


def test_linked_folders_elsewhere_are_read_once_by_the_shortest_path(tmp_path):
    root = tmp_path / "photographs"
    for name in ("cat", "dog"):
        fill(root / name, 1)
    outside = [fill(tmp_path / "outside" / name, 1) for name in "abc"]
    for here in outside:
        for there in outside:
            (here / f"to_{there.name}").symlink_to(there)
    (root / "cat" / "one").symlink_to(outside[0])
    (root / "dog" / "x").symlink_to(outside[1])
    assert names_by_class(open_source(f"folder:{root}", 0.0, 0.1)) == {
        "cat": ["cat/000.png", "cat/one/000.png"],
        "dog": ["dog/000.png", "dog/x/000.png", "dog/x/to_c/000.png"],
    }


@pytest.mark.parametrize("target", ["cat", "cat/at_night", "dog", "."])
def test_a_class_that_is_a_folder_of_another_class_is_refused(target, tmp_path):
    fill(tmp_path / "cat" / "at_night", 3)
    fill(tmp_path / ".elsewhere", 3)
    (tmp_path / "dog").symlink_to(tmp_path / ".elsewhere")
    (tmp_path / "zebra").symlink_to(tmp_path / target)
    expected = (
        f"{tmp_path}/zebra is the same folder as {Path(tmp_path, target)}, but an image has only one class"
    )
    with pytest.raises(UserError) as refused:
        open_source(f"folder:{tmp_path}", 0.0, 0.1)
    assert expected in str(refused.value)


def test_folders_may_be_nested_more_deeply_than_python_calls(tmp_path):
    for name in ("cat", "dog"):
        fill(tmp_path / name / "/".join("d" * 200), 1)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 100)
    try:
        source = open_source(f"folder:{tmp_path}", 0.0, 0.1)
    finally:
        sys.setrecursionlimit(limit)
    assert sizes(source) == {"train": 2}


def test_a_link_to_itself_is_an_image_that_cannot_be_read(tmp_path):
    for name in ("cat", "dog"):
        fill(tmp_path / name, 1)
    for name in ("cat/loop.png", "cat/loop", "loop"):
        (tmp_path / name).symlink_to(Path(name).name)
    source = open_source(f"folder:{tmp_path}", 0.0, 0.0)
    assert names_by_class(source) == {"cat": ["cat/000.png", "cat/loop.png"], "dog": ["dog/000.png"]}
    with pytest.raises(BadImage, match="symbolic links"):
        next(e for e in (source.splits["train"][i] for i in range(3)) if "loop" in e.name).content()


def test_a_class_keeps_an_image_for_training(tmp_path):
    """Of 30 classes with one image, six would have none in train."""
    for i in range(30):
        fill(tmp_path / f"{i:02}", 1)
    for name in ("30", "31"):
        fill(tmp_path / name, 35)
    for validation in (None, 0.1, 40.0):
        source = open_source(f"folder:{tmp_path}", validation, 0.1)
        train = source.splits["train"]
        assert {train[i].label for i in range(len(train))} == {*range(32)}
        assert sum(sizes(source).values()) == 100
        assert len({name for split in source.splits.values() for name, _ in everything(split)}) == 100
        report = "\n".join(source.report())
        assert " that stay in train, which has no others of their classes: " in report
        assert "test has no images of 30 of the 32 classes: 00, 01, 02, ..." in report


def test_one_image_for_each_class_leaves_none_to_hold_out(tmp_path):
    for i in range(30):
        fill(tmp_path / f"{i:02}", 1)
    source = open_source(f"folder:{tmp_path}", None, 0.1)
    assert sizes(source) == {"train": 30}
    note = "images of validation or test that stay in train, which has no others of their classes: 6"
    assert source.notes == (note,)


def test_the_version_changes_with_the_files(tmp_path):
    for name in ("cat", "dog"):
        fill(tmp_path / "here" / name, 5)
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    version = open_source(f"folder:{tmp_path}/here", 0.0, 0.1).version
    assert open_source(f"folder:{tmp_path}/there", 0.0, 0.1).version == version
    (tmp_path / "there" / "cat" / "000.png").unlink()
    assert open_source(f"folder:{tmp_path}/there", 0.0, 0.1).version != version


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


def another_case(root):
    for name in ("train/cat", "train/dog", "val/Cat"):
        fill(root / name, 3)
    return root


def no_labels(root):
    for name in ("train/cat", "train/dog", "test/all"):
        fill(root / name, 3)
    return root


def no_suffixes(root):
    for name in ("cat", "dog"):
        for path in fill(root / name, 3).iterdir():
            path.rename(path.with_suffix(""))
    return root


def other_files_only(root):
    fill(root / "cat", 3)
    (root / "dog").mkdir()
    (root / "dog" / "1.raw").touch()
    return root


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (no_folder, "nothing is not a folder"),
        (no_classes, "images has images, but no folders of images: put the images of each class into"),
        (no_images, "has no images"),
        (one_class, r"only one class, cat \(1 left out: folders without images: logs\): add another one"),
        (no_train, "has a folder for validation, but none for training: add .*/train"),
        (flat_val, "val has no folders of images: put one for each class into it"),
        (
            strange_class,
            "val has the class fish, but train does not: add images of it to train, or remove it$",
        ),
        (another_case, r"val has the class Cat, but train does not \(did you mean cat.\): add"),
        (no_labels, "test has the class all, .*; if the images have no labels, move .*/test out of "),
        (
            no_suffixes,
            r"has no images \(.*; 6 left out: files that are not images \(6 without a suffix\): cat/000, ",
        ),
        (
            other_files_only,
            r"only one class, cat \(1 left out: folders without images: dog; 1 left out: files that",
        ),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_unsuitable_folders_are_refused(make, message, tmp_path):
    with pytest.raises(UserError, match=message):
        open_source(f"folder:{make(tmp_path)}", 0.1, 0.1)
