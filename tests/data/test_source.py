"""What a source reports before it is read."""

import numpy as np

from alexnet_jax.data.source import Source, Split, missing_class_lines, with_every_class


def test_a_source_reports_its_splits_its_classes_and_what_it_leaves_out():
    splits = {"train": Split(print, np.arange(1200)), "validation": Split(print, np.arange(3))}
    names = ("ant", "bee", "cat", "dog")
    assert Source("some", "1", names, splits).report() == [
        "train 1,200, validation 3 images of 4 classes (ant, bee, cat, ...)"
    ]
    left_out = {"no images (.txt)": ["a.txt"], "nothing": [], "no labels": ["1", "2", "3", "4"]}
    assert Source("some", "1", names[:2], splits, left_out=left_out).report() == [
        "train 1,200, validation 3 images of 2 classes (ant, bee)",
        "1 left out: no images (.txt): a.txt",
        "4 left out: no labels: 1, 2, 3, ...",
    ]


def test_notes_and_classes_without_images_are_reported():
    labels = np.array([0, 1, 2, 0, 0])
    splits = {"train": Split(print, np.arange(3), labels), "test": Split(print, np.arange(3, 5), labels)}
    assert Source("some", "1", ("a", "b", "c"), splits, notes=("a note",)).report() == [
        "train 3, test 2 images of 3 classes (a, b, c)",
        "test has no images of 2 of the 3 classes: b, c",
        "a note",
    ]
    assert missing_class_lines({"train": labels}, ("a", "b", "c")) == []


def parts(labels, train, **held_out):
    labels = None if labels is None else np.array(labels)
    rows = {"train": train} | held_out
    found, notes = with_every_class({name: Split(print, np.array(r), labels) for name, r in rows.items()})
    return {name: split.rows.tolist() for name, split in found.items()}, notes


def test_a_class_without_training_examples_gets_one():
    found, (note,) = parts([0, 1, 1, 2, 0], [0], validation=[1, 4], test=[2, 3])
    assert found == {"train": [0, 1, 3], "validation": [4], "test": [2]}
    assert note.startswith("images of validation or test that stay in train")
    assert note.endswith(": 2")
    assert parts([0, 1], [0], validation=[1])[0] == {"train": [0, 1], "validation": []}


def test_nothing_moves_if_every_class_has_training_examples_or_labels_are_unknown():
    for labels in ([0, 1, 1, 0], None):
        assert parts(labels, [0, 1], test=[2, 3]) == ({"train": [0, 1], "test": [2, 3]}, ())
    assert parts([0, 1], [0, 1]) == ({"train": [0, 1]}, ())
