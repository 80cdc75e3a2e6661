"""Test images, and the training images that a net finds most like them: figure 4 (right) of the paper.

Alike are those whose last hidden layers lie near each other in Euclidean distance. Which test images
are looked at does not depend on what a net makes of them.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterator

import numpy as np

from alexnet_jax import progress
from alexnet_jax.data.cache import Cache
from alexnet_jax.data.sampler import permutation
from alexnet_jax.data.shards import Images
from alexnet_jax.errors import UserError
from alexnet_jax.training.restored import Restored

SEARCHED = 50_000  # training images, if there are more
_AT_ONCE = 128  # images in a batch


@dataclasses.dataclass(frozen=True, eq=False)
class Neighbours:
    """Test images and the training images nearest to each, the nearest first.

    Attributes:
      split: of the test images.
      rows: (images,), which of the split.
      labels: (images,), their classes.
      images: uint8 of shape (images, height, width, 3).
      near_rows: (images, near), which of the training split.
      near_labels: (images, near), their classes.
      near_images: uint8 of shape (images, near, height, width, 3).
      distances: float32 of shape (images, near).
      searched: how many training images were looked at.
    """

    split: str
    rows: np.ndarray
    labels: np.ndarray
    images: np.ndarray
    near_rows: np.ndarray
    near_labels: np.ndarray
    near_images: np.ndarray
    distances: np.ndarray
    searched: int


def choose(cache: Cache, count: int, seed: int = 0) -> tuple[str, np.ndarray]:
    """Some test images by chance, evenly over the classes.

    Args:
      cache: of the images.
      count: how many; all, if there are fewer.
      seed: of the chance; more images of the same seed begin with the fewer ones.

    Returns:
      The split, ``test`` where there is one, else ``validation``; and (images,) which of it.

    Raises:
      UserError: there is neither.
    """
    split = next((split for split in ("test", "validation") if split in cache.labels), None)
    if split is None:
        raise UserError(
            f"{cache.info.source} has neither test nor validation images: data.validation can set some apart"
        )
    order = permutation(len(cache.labels[split]), seed)
    seen: Counter[int] = Counter()
    rounds = []  # a class has its first image in the first one, its second in the second one
    for label in cache.labels[split][order].tolist():
        rounds.append(seen[label])
        seen[label] += 1
    return split, order[np.argsort(rounds, kind="stable")[:count]]


def nearest(
    net: Restored,
    cache: Cache,
    split: str,
    rows: np.ndarray,
    near: int = 6,
    most: int = SEARCHED,
    seed: int = 0,
) -> Neighbours:
    """Finds the training images nearest to some images, all seen at their centre.

    Args:
      net: from `restored.restore`.
      cache: of the images.
      split: of the images that have neighbours.
      rows: (images,), which of the split.
      near: how many neighbours of each.
      most: training images to look at: of more, so many by chance.
      seed: of that chance.
    """
    training, wanted = cache.images["train"], cache.images[split]
    searched = np.sort(permutation(len(training), seed)[:most])  # in the order in which they are read
    features_NxU = np.concatenate([features for _, features in _features(net, wanted, rows)])
    near_rows = np.empty((len(rows), 0), np.int64)
    distances = np.empty((len(rows), 0), np.float32)
    with progress.bar(total=len(searched), unit="image", description="neighbours") as bar:
        for some_rows, some_BxU in _features(net, training, searched):
            # Of differences, not of squares and products, whose rounding would hide how near the nearest are.
            more = np.stack([np.linalg.norm(some_BxU - features_U, axis=1) for features_U in features_NxU])
            distances = np.concatenate([distances, more], axis=1)
            near_rows = np.concatenate([near_rows, np.tile(some_rows, (len(rows), 1))], axis=1)
            best = np.argsort(distances, axis=1, kind="stable")[:, :near]
            distances = np.take_along_axis(distances, best, axis=1)
            near_rows = np.take_along_axis(near_rows, best, axis=1)
            bar.update(len(some_rows))
    return Neighbours(
        split,
        rows,
        cache.labels[split][rows],
        wanted[rows],
        near_rows,
        cache.labels["train"][near_rows],
        training[near_rows.ravel()].reshape(*near_rows.shape, *training.shape[1:]),
        distances,
        len(searched),
    )


def _features(net: Restored, images: Images, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows and their features, batch by batch, all of one size: they are compiled once."""
    for start in range(0, len(rows), _AT_ONCE):
        some = rows[start : start + _AT_ONCE]
        batch = np.zeros((_AT_ONCE, *images.shape[1:]), np.uint8)
        images.read(some, batch[: len(some)])
        yield some, net.features(batch)[: len(some)]
