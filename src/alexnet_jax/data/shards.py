"""Write the shards of a cache: files of images, each written by one process.

    train-00007.images    images one after the other, raw: uint8 of shape (height, width, 3), or as JPEG files
    train-00007.npz       only while the cache is built: labels, sizes, sums and broken images of the shard

A shard is a pure function of the source and the settings. It is complete if its ``.npz`` is intact and the
file of images has the size that it states.
"""

import dataclasses
import io
import math
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from alexnet_jax import files
from alexnet_jax.data import images
from alexnet_jax.data.images import BadImage
from alexnet_jax.data.source import Source
from alexnet_jax.errors import RunError, UserError
from alexnet_jax.text import visible

_SMALLEST = 2**25  # bytes of raw pixels that justify another file
_LARGEST = 2**32  # bytes of a ``.npz``
_ARRAYS = {
    "labels": ("i", 1),
    "sizes": ("i", 1),
    "checksum": ("i", 0),
    "sum_image": ("i", 3),
    "products": ("i", 2),
    "enlarged": ("i", 0),
    "broken": ("U", 1),
}
"""The kind of type and the number of dimensions of each array of a ``.npz``."""
_MOST = 128  # files in a split, because all may be open at once


@dataclasses.dataclass(frozen=True)
class Shard:
    """The result of writing a shard.

    Attributes:
      labels: labels of the images, int32 of shape (images,).
      sizes: sizes of the images in bytes, int64 of shape (images,).
      checksum: CRC-32 of the file of images.
      sum_image: sum of the images, int64 of shape (height, width, 3).
      products: sum of RGB times RGB over all pixels, int64 of shape (3, 3).
      enlarged: number of images that were smaller than the cache's size.
      broken: names of images that can't be read, with the reasons.
    """

    labels: np.ndarray
    sizes: np.ndarray
    checksum: int
    sum_image: np.ndarray
    products: np.ndarray
    enlarged: int
    broken: tuple[str, ...]

    @classmethod
    def load(cls, path: Path) -> "Shard":
        """Read the ``.npz`` of a shard.

        Raises:
          ValueError: it is damaged.
          OSError: it can't be read.
        """
        content = files.read(path, _LARGEST)
        try:
            with np.load(io.BytesIO(content)) as arrays:
                fields = dict(arrays)
            found = {name: (array.dtype.kind, array.ndim) for name, array in fields.items()}
        except Exception as error:  # NumPy and zipfile raise many kinds
            raise ValueError(f"{path.name} is damaged") from error
        if found != _ARRAYS:
            raise ValueError(f"{path.name} does not have the arrays of a part")
        fields |= {name: int(fields[name]) for name in ("checksum", "enlarged")}
        return cls(**fields | {"broken": tuple(map(str, fields["broken"]))})

    def save(self, path: Path) -> None:
        """Write the ``.npz``, which is either complete or absent, even if the power fails."""
        content = io.BytesIO()
        np.savez(content, **vars(self) | {"broken": np.array(self.broken, dtype=str)})
        files.write(path, content.getvalue())


@dataclasses.dataclass(frozen=True)
class Part:
    """The part of a split that one shard holds."""

    split: str
    number: int
    examples: range

    @property
    def images_name(self) -> str:
        """The name of the file of images."""
        return f"{self.split}-{self.number:05}.images"

    @property
    def result_name(self) -> str:
        """The name of the ``.npz``."""
        return f"{self.split}-{self.number:05}.npz"


def parts(split: str, count: int, image_size: int) -> list[Part]:
    """Divide a split of ``count`` examples into parts."""
    shards = max(1, min(_MOST, math.ceil(count * 3 * image_size**2 / _SMALLEST), count))
    each = math.ceil(count / shards)
    starts = range(0, count, each)
    return [Part(split, i, range(start, min(start + each, count))) for i, start in enumerate(starts)]


@dataclasses.dataclass(frozen=True)
class Work:
    """Everything that a process needs to write shards.

    Attributes:
      source: the data set.
      building: directory of the files of images.
      results: directory of the ``.npz`` files.
      image_size: side of the square images in pixels.
      resize: ``config.data.resize``.
      encoding: ``raw`` or ``jpeg``.
    """

    source: Source
    building: Path
    results: Path
    image_size: int
    resize: str
    encoding: str

    def parts(self) -> list[Part]:
        """Return the examples of each shard."""
        splits = self.source.splits.items()
        return [part for name, split in splits for part in parts(name, len(split), self.image_size)]

    def written(self, part: Part) -> Shard | None:
        """Return the result of a shard, or None if the shard is not complete."""
        try:
            shard = Shard.load(self.results / part.result_name)
            whole = (self.building / part.images_name).stat().st_size == shard.sizes.sum()
        except (OSError, ValueError):
            return None
        return shard if whole else None

    def write(self, part: Part, begun: Callable[[], None]) -> Shard:
        """Write a shard.

        Args:
          part: the examples of the shard.
          begun: function that is called before each image. If it raises, the unfinished shard is deleted.

        Raises:
          UserError: the label of an example is not a class.
          RunError: an image can't be read now, but perhaps later.
          OSError: the shard can't be written, as on a full disk.
        """
        split, size, classes = self.source.splits[part.split], self.image_size, len(self.source.class_names)
        path = self.building / part.images_name
        unfinished = path.with_name(f"{path.name}.{os.getpid()}.writing")
        labels, sizes, broken = [], [], []
        sum_planes = np.zeros((3, size, size), np.uint32)  # enough for 16 million images
        products = np.zeros((3, 3), np.int64)
        checksum = enlarged = 0
        try:
            with unfinished.open("wb") as file:
                for i in part.examples:
                    begun()
                    try:
                        example = split[i]
                    except OSError as error:
                        raise _unreadable(f"{part.split}[{i}]", error) from error
                    if not 0 <= example.label < classes:
                        raise UserError(
                            f"{example.name} has the label {example.label}, but labels must be from 0 to"
                            f" {classes - 1}: correct the data set"
                        )
                    try:
                        image, is_enlarged = images.square(example.content(), size, self.resize)
                    except BadImage as error:
                        broken.append(visible(f"{example.name}: {error}"))
                        continue
                    except (OSError, MemoryError) as error:
                        raise _unreadable(example.name, error) from error
                    planes_3xHxW = image.transpose(2, 0, 1).astype(np.uint32, order="C")
                    sum_planes += planes_3xHxW
                    products += _products(planes_3xHxW)
                    content = image.tobytes() if self.encoding == "raw" else images.encode(image)
                    file.write(content)
                    checksum = zlib.crc32(content, checksum)
                    labels.append(example.label)
                    sizes.append(len(content))
                    enlarged += is_enlarged
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        shard = Shard(
            np.array(labels, np.int32),
            np.array(sizes, np.int64),
            checksum,
            sum_planes.transpose(1, 2, 0).astype(np.int64),
            products,
            enlarged,
            tuple(broken),
        )
        shard.save(self.results / part.result_name)
        return shard


def _unreadable(name: str, error: Exception) -> RunError:
    reason = files.failure(error) or files.explained(error)
    return RunError(f"{visible(name)} can't be read ({reason}): run the same command again to continue")


def _products(planes_3xHxW: np.ndarray) -> np.ndarray:
    """Sum RGB times RGB over an image of uint32.

    The sum over a row is exact for up to 66,000 pixels. A matrix product would take three times as long, and
    use BLAS threads in every process.
    """
    products = np.empty((3, 3), np.int64)
    for i in range(3):
        for j in range(i, 3):
            rows_H = np.einsum("hw,hw->h", planes_3xHxW[i], planes_3xHxW[j])
            products[i, j] = products[j, i] = rows_H.sum(dtype=np.int64)
    return products
