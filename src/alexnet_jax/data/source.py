"""The types that describe a data set: `Example`, `Split` and `Source`."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np


@dataclasses.dataclass(frozen=True)
class Example:
    """One labelled image.

    Attributes:
      name: for people.
      label: the index of its class.
      content: reads the image, as the bytes of an image file or as uint8 of shape (height, width, 3). Raises
        `images.BadImage` if it can't be read.
    """

    name: str
    label: int
    content: Callable[[], bytes | np.ndarray]


@dataclasses.dataclass(frozen=True)
class Split:
    """The examples of a split.

    Attributes:
      read: returns an example by its number in the data set.
      rows: the numbers of the split's examples, in order.
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
      name: of the data set, without its location and its version; part of a cache's fingerprint.
      version: changes when the images change.
      class_names: by label.
      splits: by name: ``train``, and ``validation`` and ``test`` if they exist.
      folder: the folder of the data set, if it has one, for files such as the words of its classes.
      stamp: changes whenever the images may have changed, even if the version does not show it.
    """

    name: str
    version: str
    class_names: tuple[str, ...]
    splits: dict[str, Split]
    folder: Path | None = None
    stamp: str = ""
