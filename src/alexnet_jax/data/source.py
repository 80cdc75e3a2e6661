"""The types that describe a data set: `Example`, `Split` and `Source`."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from alexnet_jax.text import first_of

SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""The split that each name of a folder, a file or a row means, in small letters."""

_LIKE = re.compile(
    r"train|(val|valid|validation|test|testing|dev|eval|evaluation)(s|set|data|daten|images?|imgs?)?$"
)


@dataclasses.dataclass(frozen=True)
class Example:
    """One labelled image.

    Attributes:
      name: name of the image, for messages.
      label: index of its class.
      content: function that reads the image, as the bytes of an image file or as uint8 of shape
        (height, width, 3). It raises `images.BadImage` if the image can't be read.
    """

    name: str
    label: int
    content: Callable[[], bytes | np.ndarray]


@dataclasses.dataclass(frozen=True)
class Split:
    """The examples of a split.

    Attributes:
      read: function that returns an example by its number in the data set.
      rows: numbers of the examples in the split, in order.
      labels: labels of all examples of the data set by number, if they are known without reading; else None.
    """

    read: Callable[[int], Example]
    rows: np.ndarray
    labels: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> Example:
        return self.read(int(self.rows[i]))

    def subset(self, rows: np.ndarray) -> "Split":
        """Return a split of some of these examples, in the given order."""
        return dataclasses.replace(self, rows=self.rows[rows])


@dataclasses.dataclass(frozen=True)
class Options:
    """The settings of ``config.data`` that a source may depend on.

    Attributes:
      validation: ``config.data.validation``. If it is None, a data set without splits keeps a tenth for
        validation. If it is a number, `sources.open_source` splits off the validation split.
      test: ``config.data.test``: fraction of a data set without splits that becomes the test split.
      columns: ``config.data.columns``: names of the columns of the image and the label; None to find them.
    """

    validation: float | None
    test: float
    columns: tuple[str, str] | None = None


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set.

    Attributes:
      name: name of the data set without its location and version.
      version: text that changes when the images change.
      class_names: names of the classes, by label.
      splits: splits by name: ``train``, and ``validation`` and ``test`` if they exist.
      folder: folder of the data set, which may hold a list of words for its classes; None for other sources.
      stamp: text that changes whenever the images may have changed, even if the version stays the same.
      left_out: names of the images and folders that are not part of the data set, by reason. A reason
        completes "25 left out: ...", and says what to do if the user may want them.
      notes: other lines for the user.
    """

    name: str
    version: str
    class_names: tuple[str, ...]
    splits: dict[str, Split]
    folder: Path | None = None
    stamp: str = ""
    left_out: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def report(self) -> list[str]:
        """Return the lines that `prepare` prints first: splits, classes, and what is left out, by reason."""
        counts = ", ".join(f"{name} {len(split):,}" for name, split in self.splits.items())
        classes = f"{len(self.class_names):,} classes ({first_of(self.class_names)})"
        missing = missing_class_lines(self.labels(), self.class_names)
        return [f"{counts} images of {classes}", *missing, *self.notes, *left_out_lines(self.left_out)]

    def labels(self) -> dict[str, np.ndarray]:
        """Return the labels of the examples of each split whose labels are known without reading."""
        return {
            name: split.labels[split.rows] for name, split in self.splits.items() if split.labels is not None
        }


def words_like_splits(name: str) -> list[str]:
    """Return the words in the name of a folder or a file that may be meant for a split, in small letters."""
    words = (word.casefold() for word in re.findall(r"[A-Z]?[^\W\d_A-Z]+|[A-Z]+", name))
    return [word for word in words if _LIKE.match(word)]


def left_out_lines(left_out: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a line for each reason, with the number of names and the first of them."""
    return [
        f"{len(names):,} left out: {reason}: {first_of(names)}" for reason, names in left_out.items() if names
    ]


def missing_class_lines(labels: Mapping[str, np.ndarray], class_names: Sequence[str]) -> list[str]:
    """Return a line for each split that has no images of some classes."""
    lines = []
    for split, labels_N in labels.items():
        missing = np.setdiff1d(np.arange(len(class_names)), labels_N)
        if len(missing):
            count = f"{len(missing):,} of the {len(class_names):,} classes"
            lines.append(f"{split} has no images of {count}: {first_of([class_names[i] for i in missing])}")
    return lines


def with_every_class(splits: Mapping[str, Split]) -> tuple[dict[str, Split], tuple[str, ...]]:
    """Move an example of each class that has none in the training split there.

    Args:
      splits: parts of one data set. If its labels are unknown, nothing is moved.

    Returns:
      The new splits, which may be empty, and a line for the user if there were such classes.
    """
    train, held_out = splits["train"], [split.rows for name, split in splits.items() if name != "train"]
    if train.labels is None or not held_out:
        return dict(splits), ()
    rows = np.concatenate(held_out)
    labels, first = np.unique(train.labels[rows], return_index=True)
    moved = rows[first[~np.isin(labels, train.labels[train.rows])]]
    if not len(moved):
        return dict(splits), ()
    kept = {
        name: dataclasses.replace(split, rows=split.rows[~np.isin(split.rows, moved)])
        for name, split in splits.items()
    }
    kept["train"] = dataclasses.replace(train, rows=np.concatenate([train.rows, moved]))
    others = " or ".join(name for name in splits if name != "train")
    note = f"images of {others} that stay in train, which has no others of their classes: {len(moved):,}"
    return kept, (note,)
