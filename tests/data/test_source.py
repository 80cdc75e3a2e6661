"""What a source reports before it is read."""

import numpy as np

from alexnet_jax.data.source import Source, Split


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
