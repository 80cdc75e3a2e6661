"""Figure 4 of the paper: predictions for test images (left), and the nearest training images (right).

The distance is Euclidean, between activations of the last hidden layer. The choice of the test images does
not depend on the network.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from alexnet_jax.data.cache import Cache
from alexnet_jax.data.sampler import permutation
from alexnet_jax.data.stored import Images
from alexnet_jax.loops.predict import Prediction, predict_examples
from alexnet_jax.runtime import progress
from alexnet_jax.text import visible
from alexnet_jax.training.restored import Restored

MOST_IN_A_PICTURE = 48  # predictions that `draw_predictions` can show legibly
_SEARCHED = 50_000  # training images to search at most
_PREDICTED, _WITH_NEIGHBOURS = 8, 5  # numbers of test images, as in the paper
_AT_ONCE = 128  # images in a batch
_COLUMNS = 4  # of images with bars, in a picture
_BLUE, _PINK, _RED, _LIGHT = "#a9cce9", "#f4a3b4", "#b3263e", "#bbbbbb"


@dataclasses.dataclass(frozen=True, eq=False)
class Neighbours:
    """Test images and the training images nearest to each, the nearest first.

    Attributes:
      split: split of the test images.
      rows: (images,), positions of the test images in the split.
      labels: (images,), their classes.
      images: uint8 of shape (images, height, width, 3).
      near_rows: (images, near), positions of the neighbours in the training split.
      near_labels: (images, near), their classes.
      near_images: uint8 of shape (images, near, height, width, 3).
      distances: float32 of shape (images, near).
      searched: number of training images that were searched.
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


@dataclasses.dataclass(frozen=True, eq=False)
class Figure4:
    """The data of figure 4.

    Attributes:
      predictions: left half: the five most probable classes of eight test images.
      neighbours: right half: the six training images nearest to each of the first five test images.
    """

    predictions: list[Prediction]
    neighbours: Neighbours


def gather(net: Restored, cache: Cache, views: int) -> Figure4:
    """Predict random test images, and find the training images nearest to the first of them.

    Args:
      net: network from `restore`.
      cache: images of the data set.
      views: number of crops of each image for the predictions, 1 or 10.

    Raises:
      NoTestSplit: the data has neither test nor validation images.
    """
    split, rows = choose(cache, _PREDICTED)
    predictions = predict_examples(net, cache, split, rows, views)
    wanted = rows[:_WITH_NEIGHBOURS]
    searched = min(cache.info.splits["train"], _SEARCHED)
    progress.note(
        f"searching {searched:,} training images for the nearest to {len(wanted)} images of {split}"
    )
    return Figure4(predictions, nearest(net, cache, split, wanted))


def choose(cache: Cache, count: int, seed: int = 0) -> tuple[str, np.ndarray]:
    """Choose random test images, evenly over the classes.

    Args:
      cache: images of the data set.
      count: number of images to choose; if there are fewer, all are chosen.
      seed: random seed; with the same seed, a larger choice begins with the smaller one.

    Returns:
      The split, ``test`` or else ``validation``; and (images,), positions in the split.

    Raises:
      NoTestSplit: the data has neither split.
    """
    split = cache.info.test_split()
    order = permutation(len(cache.labels[split]), seed)
    seen: Counter[int] = Counter()
    rounds = []  # the first image of each class is in round 0, the second in round 1
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
    most: int = _SEARCHED,
    seed: int = 0,
) -> Neighbours:
    """Find the training images nearest to some images, by the centre crop of each.

    Args:
      net: network from `restore`.
      cache: images of the data set.
      split: split of the images whose neighbours are wanted.
      rows: (images,), positions in the split.
      near: number of neighbours of each image.
      most: largest number of training images to search; a random sample if there are more.
      seed: random seed of the sample.
    """
    training, wanted = cache.images["train"], cache.images[split]
    searched = np.sort(permutation(len(training), seed)[:most])  # sorted, to read the files in order
    features_NxU = np.concatenate([features for _, features in _features(net, wanted, rows)])
    near_rows = np.empty((len(rows), 0), np.int64)
    distances = np.empty((len(rows), 0), np.float32)
    with progress.bar(total=len(searched), unit="image", description="neighbours") as bar:
        for some_rows, some_BxU in _features(net, training, searched):
            # Computed from differences: with squares and products, rounding would hide small distances.
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
    """Yield rows and their features in batches of one size, so that the network is compiled once."""
    for start in range(0, len(rows), _AT_ONCE):
        some = rows[start : start + _AT_ONCE]
        batch = np.zeros((_AT_ONCE, *images.shape[1:]), np.uint8)
        images.read(some, batch[: len(some)])
        yield some, net.features(batch)[: len(some)]


def draw_predictions(predictions: Sequence[Prediction]) -> Figure:
    """Draw the left half: each image above its class, or its file name, with a bar for each prediction.

    The bar of the right class, if it is known, has another colour.

    Args:
      predictions: at least one prediction, at most `MOST_IN_A_PICTURE`.
    """
    columns = min(_COLUMNS, len(predictions))
    rows = -(-len(predictions) // columns)
    figure = Figure(
        figsize=(2.7 * columns, 4.1 * rows), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.05)
    )
    cells = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=[2.6, 1.2] * rows)
    for ax in cells.flat:
        ax.set_axis_off()
    for i, prediction in enumerate(predictions):
        row, column = divmod(i, columns)
        cells[2 * row, column].imshow(prediction.image)
        _bars(cells[2 * row + 1, column], prediction)
    return figure


def _bars(ax: Axes, prediction: Prediction) -> None:
    right = prediction.right
    caption = right.name if right else Path(prediction.path).name
    ax.set_title(_short(caption, 30), fontsize=10, fontweight="bold" if right else "normal", parse_math=False)
    for y, guess in enumerate(prediction.guesses):
        color = _PINK if right and guess.label == right.label else _BLUE
        ax.barh(y, guess.probability, color=color, height=0.82)
        ax.text(0.02, y, _short(guess.name, 26), va="center", fontsize=9, parse_math=False)
        ax.text(0.98, y, f"{guess.probability:.1%}", va="center", ha="right", fontsize=9)
    ax.set(xlim=(0, 1), ylim=(len(prediction.guesses) - 0.4, -0.6), xticks=[], yticks=[])
    ax.set_axis_on()
    ax.spines[:].set_color(_LIGHT)


def draw_neighbours(found: Neighbours, class_words: Sequence[str]) -> Figure:
    """Draw the right half: a row for each test image, with its class, and the nearest training images.

    Each neighbour is labelled with its distance, and with its class if it differs from the test image's.

    Args:
      found: neighbours of at least one test image.
      class_words: names of the classes, by label.
    """
    count, near = found.near_rows.shape
    figure = Figure(figsize=(1.25 * (near + 1.25), 1.45 * count + 0.1), layout="constrained")
    grid = figure.add_gridspec(count, near + 2, width_ratios=[1, 0.25, *[1] * near])
    for i in range(count):
        ax = figure.add_subplot(grid[i, 0])
        _picture(ax, found.images[i])
        name = _short(class_words[found.labels[i]], 15)
        ax.set_xlabel(name, fontsize=9, fontweight="bold", labelpad=3, parse_math=False)
        for j in range(near):
            ax = figure.add_subplot(grid[i, 2 + j])
            _picture(ax, found.near_images[i, j])
            same = found.near_labels[i, j] == found.labels[i]
            name = "" if same else f"{_short(class_words[found.near_labels[i, j]], 12)}, "
            distance = f"{found.distances[i, j]:#.3g}".rstrip(".")
            color = "black" if same else _RED
            ax.set_xlabel(name + distance, fontsize=8, color=color, labelpad=3, parse_math=False)
    return figure


def _picture(ax: Axes, image_HxWx3: np.ndarray) -> None:
    ax.imshow(image_HxWx3)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def _short(name: str, length: int) -> str:
    text = visible(name)
    return text if len(text) <= length else text[: length - 1] + "…"
