"""What a data set is: examples, splits and the source that has them."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np


@dataclasses.dataclass(frozen=True)
class Example:
    """One labelled image.

    Attributes:
      name: for people.
      label: its class.
      content: reads it: an image file's bytes, or uint8 of shape (height, width, 3). Raises
        `images.BadImage` where that can't be done.
    """

    name: str
    label: int
    content: Callable[[], bytes | np.ndarray]


@dataclasses.dataclass(frozen=True)
class Split:
    """Examples that belong together: those with these numbers, in this order."""

    read: Callable[[int], Example]
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> Example:
        return self.read(int(self.rows[i]))

    def subset(self, rows: np.ndarray) -> "Split":
        """These of its examples alone, in this order."""
        return Split(self.read, self.rows[rows])


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set.

    Attributes:
      version: changes when its images do.
      class_names: by label.
      splits: by name: ``train``, and what there is of ``validation`` and ``test``.
      folder: with more about the data set, where there is one.
      stamp: changes whenever the images may have, even if the version can't tell.
    """

    version: str
    class_names: tuple[str, ...]
    splits: dict[str, Split]
    folder: Path | None = None
    stamp: str = ""
