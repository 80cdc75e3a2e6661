"""A linear classifier on features, and the splits on which it is trained and tested."""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from alexnet_jax.errors import UserError

Rows: TypeAlias = tuple[np.ndarray, np.ndarray]
"""The rows for training, and those for the test."""

_FOLDS = 3
_LEAST = 2  # training images of a class, for the cross-validation
_CS = (1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)
_MOST_ITERATIONS = 1000
_TOLERANCE = 1e-3  # of the gradient. With 1e-4 the fits take 2.6 times as long, for the same accuracy


def random_splits(
    labels: np.ndarray, class_names: Sequence[str], train_per_class: int, count: int, seed: int
) -> list[Rows]:
    """Choose random images of each class for training, and all others for the test, several times.

    Args:
      labels: (images,), the label of each image.
      class_names: names of the classes, by label.
      train_per_class: number of images of each class for training, at least 2.
      count: number of splits.
      seed: the n-th split depends only on the seed and n.

    Raises:
      UserError: a class has no image left for the test.
    """
    advice = "add images, leave out these classes, or take a smaller --train_per_class"
    check_classes(labels, class_names, train_per_class + 1, "images", advice)
    splits = []
    for number in range(count):
        order = np.random.default_rng([seed, number]).permutation(len(labels))
        rows_of = [order[labels[order] == label] for label in range(len(class_names))]
        splits.append(
            (
                np.sort(np.concatenate([rows[:train_per_class] for rows in rows_of])),
                np.sort(np.concatenate([rows[train_per_class:] for rows in rows_of])),
            )
        )
    return splits


def check_classes(
    labels: np.ndarray,
    class_names: Sequence[str],
    least: int = _LEAST,
    what: str = "training images",
    advice: str = "add images, or leave out these classes",
) -> None:
    """Check that each class has enough images.

    Args:
      labels: (images,), the label of each image.
      class_names: names of the classes, by label.
      least: the number that each class needs.
      what: what they are, for the message.
      advice: what the user can do, for the message.

    Raises:
      UserError: a class has fewer. The message counts such classes, and names the first one.
    """
    counts = np.bincount(labels, minlength=len(class_names))
    few = np.flatnonzero(counts < least)
    if len(few):
        raise UserError(
            f"{len(few):,} of the {len(class_names):,} classes have fewer than {least:,} {what} (the first is"
            f" {class_names[few[0]]} with {counts[few[0]]:,}): {advice}"
        )


def predictions(features: np.ndarray, labels: np.ndarray, rows: Rows, seed: int) -> tuple[np.ndarray, float]:
    """Train a classifier, and predict the labels of the test images.

    It is a multinomial logistic regression with an L2 penalty, on features that are standardized by the mean
    and standard deviation of the training images. The penalty is chosen by cross-validation on the training
    images: three folds, or two if a class has only two images.

    Args:
      features: (images, features), float32.
      labels: (images,), the label of each image.
      rows: the rows for training and for the test.
      seed: seed of the folds.

    Returns:
      The predicted labels of the test images, and scikit-learn's C, the inverse of the penalty.
    """
    train, test = rows
    smallest = np.unique(labels[train], return_counts=True)[1].min()
    folds = StratifiedKFold(min(_FOLDS, int(smallest)), shuffle=True, random_state=seed)
    right = np.zeros(len(_CS), int)
    for fit, held_out in folds.split(train, labels[train]):
        found = _each_c(features, labels, train[fit], train[held_out], _CS)
        right += [int((each == labels[train[held_out]]).sum()) for each in found]
    c = _CS[int(right.argmax())]  # the largest penalty, if several are equally good
    (best,) = _each_c(features, labels, train, test, (c,))
    return best, c


def _each_c(
    features: np.ndarray, labels: np.ndarray, train: np.ndarray, test: np.ndarray, cs: Sequence[float]
) -> Iterator[np.ndarray]:
    """Yield the predictions for each C, which must rise: each fit starts from the one before."""
    scaler = StandardScaler()
    train_NxD, test_MxD = scaler.fit_transform(features[train]), scaler.transform(features[test])
    if len(train) < train_NxD.shape[1]:
        # The penalty keeps the coefficients in the space of the training images, which has fewer dimensions.
        # A rotation into it does not change the predictions, and saves most of the time.
        basis_DxN, coordinates = np.linalg.qr(train_NxD.T)
        train_NxD, test_MxD = np.ascontiguousarray(coordinates.T), test_MxD @ basis_DxN
    model = LogisticRegression(tol=_TOLERANCE, max_iter=_MOST_ITERATIONS, warm_start=True)
    for c in cs:
        yield model.set_params(C=c).fit(train_NxD, labels[train]).predict(test_MxD)
