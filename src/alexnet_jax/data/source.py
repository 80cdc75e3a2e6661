"""The types that describe a data set: `Example`, `Split` and `Source`."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np


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
    """

    read: Callable[[int], Example]
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> Example:
        return self.read(int(self.rows[i]))

    def subset(self, rows: np.ndarray) -> "Split":
        """Return a split of some of these examples, in the given order."""
        return Split(self.read, self.rows[rows])


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set.

    Attributes:
      name: name of the data set without its location and version; part of the fingerprint of a cache.
      version: text that changes when the images change.
      class_names: names of the classes, by label.
      splits: splits by name: ``train``, and ``validation`` and ``test`` if they exist.
      folder: folder of the data set, which may hold a list of words for its classes; None for other sources.
      stamp: text that changes whenever the images may have changed, even if the version stays the same.
    """

    name: str
    version: str
    class_names: tuple[str, ...]
    splits: dict[str, Split]
    folder: Path | None = None
    stamp: str = ""
