"""The activations of a layer for many images: of files, or of the splits of a cache."""

import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.data.cache import Cache
from alexnet_jax.data.images import BadImage, file_content, square
from alexnet_jax.data.loader import ahead
from alexnet_jax.data.walk import named_images
from alexnet_jax.errors import RunError, UserError, reason
from alexnet_jax.files import failure
from alexnet_jax.parallel.axes import DATA
from alexnet_jax.training.restored import Restored

_AT_ONCE = 32  # images on a device


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Images in a fixed order.

    Attributes:
      names: path of each file; for an example of a data set, ``test[7]``.
      identity: text that changes when the images change.
      read: function that returns the image at a position, uint8 of shape (height, width, 3). Threads call it.
      labels: label of each image; None if the classes are unknown.
      class_names: names of the classes, by label.
    """

    names: Sequence[str]
    identity: str
    read: Callable[[int], np.ndarray]
    labels: np.ndarray | None = None
    class_names: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Batch:
    """The activations of consecutive images.

    Attributes:
      end: position after the last of these images.
      features: float32 of shape (images, ...), without the images that can't be read.
      left_out: the reason for each image that can't be read, by its position.
    """

    end: int
    features: np.ndarray
    left_out: dict[int, str]


def layer_name(net: Restored, layer: str | None) -> str:
    """Return the name of a layer in texts; None is the input of the classifier."""
    return layer or f"input of {net.config.net.layers[-1].name}"


def of_files(
    paths: Iterable[str | os.PathLike[str]], data: ConfigDict, complain: Callable[[str], None]
) -> Inputs:
    """Return the image files that a user names, and all images in folders, resized as `prepare` does.

    Args:
      paths: files and folders.
      data: ``config.data`` of the network: the size of the images, and how they are resized.
      complain: function that takes a line about each folder that has no images.

    Raises:
      UserError: there are none.
    """
    names = list(named_images(paths, complain))
    if not names:
        raise UserError("there are no images: name files, or folders that hold some")
    changes = hashlib.sha256()
    for name in names:
        try:
            status = os.stat(name)  # noqa: PTH116 (a million files)
            state = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:  # it is left out later
            state = ""
        changes.update(os.fsencode(f"{name}\n{state}\n"))

    def read(row: int) -> np.ndarray:
        return square(file_content(names[row]), data.image_size, data.resize)[0]

    identity = f"{len(names):,} files, {changes.hexdigest()[:12]}"
    return Inputs(names, identity, read)


def of_splits(cache: Cache, splits: Sequence[str]) -> Inputs:
    """Return the images of some splits of a cache, in the order of the cache."""
    rows = [(split, row) for split in splits for row in range(cache.info.splits[split])]

    def read(i: int) -> np.ndarray:
        split, row = rows[i]
        return cache.images[split][[row]][0]

    return Inputs(
        [f"{split}[{row}]" for split, row in rows],
        f"{len(rows):,} images of {', '.join(splits)}, {cache.info.fingerprint[:12]}",
        read,
        np.concatenate([cache.labels[split] for split in splits]),
        cache.info.class_names,
    )


def activations(
    net: Restored, inputs: Inputs, layer: str | None, views: int, start: int = 0
) -> Iterator[Batch]:
    """Yield the activations of a layer in batches, while threads read the next images.

    The batches have 32 images for each device and are filled up at the end, so that the network is compiled
    once.

    Args:
      net: network from `restore`.
      inputs: the images.
      layer: name of the layer; see `Restored.features`.
      views: number of crops of each image, 1 or 10.
      start: position of the first image.

    Raises:
      RunError: an activation is not finite.
    """
    size, count = net.data.image_size, len(inputs.names)
    at_once = min(count, _AT_ONCE * net.mesh.shape[DATA])

    def load(rows: range) -> tuple[range, int, np.ndarray, dict[int, str]]:
        images, kept, left_out = np.zeros((at_once, *size, 3), np.uint8), 0, {}
        for row in rows:
            try:
                images[kept] = inputs.read(row)
                kept += 1
            except (BadImage, OSError, MemoryError) as error:
                left_out[row] = failure(error) or reason(error)
        return rows, kept, images, left_out

    starts = (range(first, min(first + at_once, count)) for first in range(start, count, at_once))
    for rows, kept, images, left_out in ahead(load, starts, "batch"):
        found = net.features(images, layer, views)[:kept]
        if not np.isfinite(found).all():
            raise RunError(
                f"the activations of {net.workdir} at step {net.step} are not finite, so the network has"
                " diverged: choose another checkpoint with --step"
            )
        yield Batch(rows.stop, found, left_out)
