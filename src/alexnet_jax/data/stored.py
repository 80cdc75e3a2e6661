"""Read the images of a cache, at any position.

    train-00007.images    images one after the other, raw: uint8 of shape (height, width, 3), or as JPEG files
    train.offsets.npy     (examples + 1,) int64: the first byte of each image in the split's joined files

Files are read, not mapped into memory. So memory use does not grow with the amount that was read, and a
truncated file raises an exception instead of killing the process.
"""

import contextlib
import math
import os
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from alexnet_jax.data.images import decode_into
from alexnet_jax.errors import RunError

_REBUILD = "rebuild the cache with alexnet-jax prepare --force"


class Images:
    """The images of a split, read from its files on access: ``images[rows]`` is an array.

    Attributes:
      shape: (examples, height, width, 3).
    """

    def __init__(self, paths: Sequence[Path], offsets: np.ndarray, size: int, encoding: str) -> None:
        self.shape = (len(offsets) - 1, size, size, 3)
        self._paths, self._offsets, self._encoding = paths, offsets, encoding
        self._begins = np.cumsum([0, *(path.stat().st_size for path in paths)])
        self._files = [os.open(path, os.O_RDONLY) for path in paths]
        weakref.finalize(self, _close, self._files)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray | list[int]) -> np.ndarray:
        """Return images as uint8 of shape (rows, height, width, 3). Raises the exceptions of `read`."""
        chosen = np.arange(*rows.indices(len(self))) if isinstance(rows, slice) else np.asarray(rows, int)
        out = np.empty((len(chosen), *self.shape[1:]), np.uint8)
        self.read(chosen, out)
        return out

    def read(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Read images into an array.

        Args:
          rows: positions of the images in the split, of shape (rows,).
          out: contiguous uint8 of shape (rows, height, width, 3).

        Raises:
          IndexError: a row is out of range.
          RunError: a file was truncated, or a JPEG is damaged.
        """
        if not len(rows):
            return
        if not 0 <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"a row is out of range: the split has {len(self)} images")
        begins, ends = self._offsets[rows], self._offsets[rows + 1]
        numbers = np.searchsorted(self._begins, begins, side="right") - 1
        starts = begins - self._begins[numbers]
        pixels, size = out.data.cast("B"), math.prod(self.shape[1:])
        places = list(zip(numbers.tolist(), starts.tolist(), (ends - begins).tolist(), strict=True))
        if self._encoding == "jpeg":
            # A disk that knows all reads serves several at a time. Not for raw images: if they are in the
            # page cache, the advice costs a tenth of the time of reading them.
            with contextlib.suppress(OSError):  # it is only advice
                for number, start, length in places:
                    os.posix_fadvise(self._files[number], start, length, os.POSIX_FADV_WILLNEED)
        for i, (number, start, length) in enumerate(places):
            try:
                if self._encoding == "raw":
                    read = os.preadv(self._files[number], [pixels[i * size : (i + 1) * size]], start)
                else:
                    content = os.pread(self._files[number], length, start)
                    read = len(content)
                    decode_into(out[i], content)
            except (OSError, ValueError) as error:
                raise RunError(
                    f"{self._paths[number]} is damaged at byte {start} ({error}): {_REBUILD}"
                ) from error
            if read != length:
                raise RunError(f"{self._paths[number]} is damaged (it is truncated): {_REBUILD}")


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
