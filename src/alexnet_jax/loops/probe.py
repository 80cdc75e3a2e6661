"""Measure how well features transfer: train a linear classifier on them. Read it from top to bottom."""

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.data.cache import DataInfo, NoTestSplit
from alexnet_jax.data.dataset import open_cache_of
from alexnet_jax.errors import UserError
from alexnet_jax.loops.activations import of_splits
from alexnet_jax.loops.baselines import matrices
from alexnet_jax.loops.linear import check_classes, predictions, random_splits
from alexnet_jax.loops.spread import mean_and_error
from alexnet_jax.parallel import hosts
from alexnet_jax.text import aligned
from alexnet_jax.training.restored import Restored, as_restored, check_views


@dataclasses.dataclass(frozen=True)
class Score:
    """The results of a linear classifier on one kind of features. Each tuple has a value for each split.

    Attributes:
      features: what the classifier reads.
      dimensions: number of features of an image.
      accuracy: fraction of the test images whose class is right, from 0 to 1.
      class_accuracy: the mean over the classes of this fraction.
      c: scikit-learn's C, the inverse of the penalty, chosen by cross-validation on the training images.
    """

    features: str
    dimensions: int
    accuracy: tuple[float, ...]
    class_accuracy: tuple[float, ...]
    c: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the record in ``results`` of ``alexnet-jax probe --json``."""
        record: dict[str, Any] = {"features": self.features, "dimensions": self.dimensions, "c": self.c}
        for name in ("accuracy", "class_accuracy"):
            values = getattr(self, name)
            mean, error = mean_and_error(values)
            record[name] = {"mean": mean, "standard_error": error, "splits": values}
        return record


@dataclasses.dataclass(frozen=True)
class Probe:
    """The results of `probe`.

    Attributes:
      workdir: directory of the network.
      step: number of completed updates.
      layer: name of the layer.
      views: number of crops of each image, 1 or 10.
      source: the data set.
      classes: number of its classes.
      train: number of images for training in a split.
      test: number of images for the test in a split.
      seed: seed of the splits.
      images_per_second: speed of the network without the first batch; None if there is only one.
      scores: the features of the layer, and then the baselines.
    """

    workdir: str
    step: int
    layer: str
    views: int
    source: str
    classes: int
    train: int
    test: int
    seed: int
    images_per_second: float | None
    scores: tuple[Score, ...]

    def __str__(self) -> str:
        head = ("features", "dimensions", "accuracy", "mean over classes", "C")
        rows = [
            (
                score.features,
                f"{score.dimensions:,}",
                _percent(score.accuracy),
                _percent(score.class_accuracy),
                ", ".join(f"{c:g}" for c in sorted(set(score.c))),
            )
            for score in self.scores
        ]
        return aligned([head, *rows])

    def to_json(self) -> dict[str, Any]:
        """Return the record that ``alexnet-jax probe --json`` writes."""
        fields = {name: value for name, value in vars(self).items() if name != "scores"}
        return fields | {"results": [score.to_json() for score in self.scores]}


def probe(
    net: Restored | str | os.PathLike[str],
    layer: str | None = None,
    views: int = 1,
    data: Mapping[str, Any] | ConfigDict | None = None,
    train_per_class: int = 30,
    splits: int | Literal["own"] = 5,
    seed: int = 0,
    baselines: bool = False,
    say: Callable[[str], None] = hosts.say,
) -> Probe:
    """Train and test a linear classifier on the activations of a layer.

    The classifier is scikit-learn's logistic regression on standardized features. Its penalty is chosen by
    cross-validation on the training images. The features of all images are in memory: 4 bytes for each
    feature of each image, and about three times as much for the training images of a split.

    Args:
      net: a network from `restore`, whose whole mesh is used; or a workdir, whose last checkpoint is restored
        on all devices.
      layer: name of the layer, and by default the input of the classifier; see `Restored.features`.
      views: 1 for the centre crop; 10 for the mean of the activations over the ten crops.
      data: settings that locate the images, as in `evaluate`. They may be of any classes.
      train_per_class: number of images of each class for training in a random split. All others are for the
        test.
      splits: number of random splits of all images; or ``own`` for the data's own: the test split (the
        validation split, if there is no other) against all other images.
      seed: seed of the random splits and of the random weights.
      baselines: whether to do the same with the initial weights of the network, drawn again, and with the
        pixels of the images at 32x32.
      say: function that takes a line of text about each step; by default the first process prints it.

    Returns:
      The accuracies of each split, as fractions from 0 to 1.

    Raises:
      UserError: there is no such layer, a class has too few images, the data has no split for the test, or
        its images are not on this machine.
      RunError: an activation is not finite.
      ValueError: ``views`` is neither 1 nor 10, or ``train_per_class`` or ``splits`` is too small.
    """
    check_views(views)
    if splits != "own" and (train_per_class < 2 or splits < 1):
        raise ValueError("train_per_class must be at least 2, and splits at least 1")
    net = as_restored(net)
    net.feature_shape(layer)  # raises an error if there is no such layer

    # ---- Images ---------------------------------------------------------------------------------
    cache = open_cache_of(net.config.data, net.data, dict(data or {}), say)
    of_test = _test_split(cache.info) if splits == "own" else ""
    inputs = of_splits(cache, sorted(cache.info.splits, key=lambda name: name == of_test))  # it comes last
    labels = np.asarray(inputs.labels)
    if splits == "own":
        end = len(labels) - cache.info.splits[of_test]
        check_classes(labels[:end], inputs.class_names)
        rows = [(np.arange(end), np.arange(end, len(labels)))]
    else:
        rows = random_splits(labels, inputs.class_names, train_per_class, splits, seed)

    # ---- Features, and classifiers on them -------------------------------------------------------
    scores, speed = [], None
    for each in matrices(net, inputs, layer, views, seed, baselines, say):
        speed = speed or each.images_per_second
        scores.append(_score(each.name, each.features, labels, rows, seed, say))
    return Probe(
        net.workdir, net.step, scores[0].features, views, cache.info.source, len(inputs.class_names),
        len(rows[0][0]), len(rows[0][1]), seed, speed, tuple(scores),
    )  # fmt: skip


def _test_split(info: DataInfo) -> str:
    try:
        return info.test_split()
    except NoTestSplit as error:
        raise UserError(
            f"{info.source} has only images for training: take random splits, such as --splits=5"
        ) from error


def _score(
    name: str,
    features: np.ndarray,
    labels: np.ndarray,
    splits: Sequence[tuple[np.ndarray, np.ndarray]],
    seed: int,
    say: Callable[[str], None],
) -> Score:
    """Train and test a classifier on each split."""

    def results() -> Iterator[tuple[float, float, float]]:
        for number, (train, test) in enumerate(splits, start=1):
            found, c = predictions(features, labels, (train, test), seed)
            right = found == labels[test]
            of_classes = [right[labels[test] == label].mean() for label in np.unique(labels[test])]
            say(f"{name}: split {number} of {len(splits)}, {right.mean():.2%} right")
            yield float(right.mean()), float(np.mean(of_classes)), float(c)

    accuracy, class_accuracy, cs = zip(*results(), strict=True)
    return Score(name, features.shape[1], accuracy, class_accuracy, cs)


def _percent(values: Sequence[float]) -> str:
    mean, error = mean_and_error(values)
    return f"{mean:.2%}" if error is None else f"{100 * mean:.2f} ± {100 * error:.2f}%"
