"""A linear SVM for each class, trained on the objects and on hard negatives, as in R-CNN.

A negative is a window that overlaps the objects of the class by less than 0.3. There are far too many of them
for the memory. So the photographs are read in turn, and only those negatives are kept that the SVM so far
gives too high a score. Of too many, some are drawn at random, and each counts for several. (The hardest ones
are no such sample: with them most windows of VOC2007 scored as a person.)
"""

import dataclasses
import warnings
from collections.abc import Sequence

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC

from alexnet_jax.detection.boxes import overlaps
from alexnet_jax.detection.examples import Example, Stored
from alexnet_jax.errors import UserError
from alexnet_jax.runtime import progress

NORM = 20.0
"""Mean norm to which features are scaled. C of the SVM and the penalty of the regression belong to it."""

_NEGATIVE = 0.3  # overlap below which a window is a negative
_HARD, _EASY = -1.0, -1.2  # scores at which a negative is added, and is discarded after a training
_NEW = 1000  # negatives of a class that are added before its next training
_MOST = 3000  # hard negatives of a class that are kept
_OBJECT = 2.0  # weight of an object in the loss, as in R-CNN; a negative that stands for itself has 1
_SAMPLE = 200  # photographs from which the scale is measured


@dataclasses.dataclass(frozen=True, eq=False)
class Linear:
    """A linear function of features for each class.

    Attributes:
      weights_CxU: weights for features as the network computes them.
      biases_C: biases.
    """

    weights_CxU: np.ndarray
    biases_C: np.ndarray

    def __call__(self, units_NxU: np.ndarray) -> np.ndarray:
        """Return the scores, float32 of shape (windows, classes)."""
        return units_NxU.astype(np.float32) @ self.weights_CxU.T + self.biases_C


def scale_of(examples: Sequence[Example], features: Stored, name: str) -> float:
    """Return the factor that gives features of this name the mean norm `NORM`."""
    step = -(-len(examples) // _SAMPLE)
    norms = [
        np.linalg.norm(features.read(each, name).astype(np.float32), axis=1) for each in examples[::step]
    ]
    return NORM / max(float(np.concatenate(norms).mean()), 1e-6)


def train_svms(examples: Sequence[Example], features: Stored, class_names: Sequence[str]) -> Linear:
    """Train an SVM for each class in one pass over the photographs.

    Args:
      examples: photographs, with their objects as windows.
      features: their features.
      class_names: names of the classes, by label.

    Raises:
      UserError: a class has no negatives.
    """
    scale = scale_of(examples, features, "units_NxU")
    positives = _positives(examples, features, class_names, scale)
    classes = [_Class(name, each) for name, each in zip(class_names, positives, strict=True)]
    for each in progress.bar(examples, total=len(examples), unit="photograph", description="hard negatives"):
        units_NxU = features.read(each, "units_NxU").astype(np.float32) * scale
        for label, one in enumerate(classes):
            of_class = each.photograph.boxes_Nx4[each.photograph.labels_N == label]
            one.add(units_NxU[overlaps(each.boxes_Nx4, of_class).max(axis=1, initial=0) < _NEGATIVE])
    for one in classes:
        one.fit()
    weights = np.array([one.weights_U * scale for one in classes], np.float32)
    return Linear(weights, np.array([one.bias for one in classes], np.float32))


def _positives(
    examples: Sequence[Example], features: Stored, class_names: Sequence[str], scale: float
) -> list[np.ndarray]:
    """Return the scaled features of each class's objects that are not difficult.

    Args:
      examples: photographs, in which each class has an object that is not difficult.
      features: their features.
      class_names: names of the classes, by label.
      scale: see `scale_of`.
    """
    found: list[list[np.ndarray]] = [[] for _ in class_names]
    for each in examples:
        labels = each.photograph.labels_N
        rows = np.flatnonzero(~each.photograph.difficult_N)
        if len(rows):
            units_NxU = features.read(each, "units_NxU")[rows].astype(np.float32) * scale
            for label, units_U in zip(labels[rows], units_NxU, strict=True):
                found[label].append(units_U.astype(np.float16))
    return [np.array(of_class) for of_class in found]


class _Class:
    """The SVM of a class while it is trained.

    Args:
      name: name of the class.
      positives_PxU: features of its objects, scaled, float16.
    """

    def __init__(self, name: str, positives_PxU: np.ndarray) -> None:
        self._name, self._positives_PxU = name, positives_PxU
        self._negatives_NxU, self._counts_N = positives_PxU[:0], np.zeros(0)
        self._new: list[np.ndarray] = []
        self._random = np.random.default_rng(0)
        self.weights_U, self.bias = np.zeros(positives_PxU.shape[1], np.float32), 0.0

    def add(self, units_NxU: np.ndarray) -> None:
        """Add those negatives that are hard, and train again if there are many new ones."""
        hard_N = units_NxU @ self.weights_U + self.bias > _HARD  # before the first training: all
        self._new.append(units_NxU[hard_N].astype(np.float16))
        if sum(map(len, self._new)) >= _NEW:
            self.fit()

    def fit(self) -> None:
        """Train on the objects and the hard negatives, and discard those negatives that have become easy."""
        new_NxU = np.concatenate([self._negatives_NxU[:0], *self._new])
        negatives_NxU = np.concatenate([self._negatives_NxU, new_NxU])
        counts_N = np.concatenate([self._counts_N, np.ones(len(new_NxU))])
        if not len(negatives_NxU):
            raise UserError(f"no window is free of class {self._name}: add photographs without it")
        labels = np.repeat([1, -1], [len(self._positives_PxU), len(negatives_NxU)])
        weights = np.concatenate([np.full(len(self._positives_PxU), _OBJECT), counts_N])
        svm = LinearSVC(C=1e-3, loss="hinge", intercept_scaling=10, random_state=0)  # as in R-CNN
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            svm.fit(np.concatenate([self._positives_PxU, negatives_NxU]), labels, weights)
        self.weights_U, self.bias = svm.coef_[0].astype(np.float32), float(svm.intercept_[0])
        kept = np.flatnonzero(negatives_NxU.astype(np.float32) @ self.weights_U + self.bias > _EASY)
        if len(kept) > _MOST:
            counts_N = counts_N * len(kept) / _MOST
            kept = np.sort(self._random.choice(kept, _MOST, replace=False))
        self._negatives_NxU, self._counts_N, self._new = negatives_NxU[kept], counts_N[kept], []
