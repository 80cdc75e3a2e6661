"""The regression of boxes: offsets from a proposal to its object, from feature maps. Appendix C of R-CNN."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import Ridge

from alexnet_jax.detection.boxes import clipped, moved, offsets, overlaps
from alexnet_jax.detection.examples import Example, Stored
from alexnet_jax.detection.svm import scale_of
from alexnet_jax.runtime import progress

_LEAST = 0.6  # overlap above which a proposal is moved to its object
_PENALTY = 1000.0  # that of R-CNN, for features with the mean norm `svm.NORM`
_FARTHEST = 4.0  # offset; sides change at most by the factor exp(4), and stay finite
_MOST = 4000  # proposals of a class, chosen at random if there are more


@dataclasses.dataclass(frozen=True, eq=False)
class Regression:
    """A linear function from feature maps to offsets, for each class.

    Attributes:
      weights_Cx4xM: weights for features as the network computes them.
      biases_Cx4: biases. A class without proposals near its objects has zeros everywhere, and moves no box.
    """

    weights_Cx4xM: np.ndarray
    biases_Cx4: np.ndarray

    def __call__(
        self, label: int, boxes_Nx4: np.ndarray, maps_NxM: np.ndarray, size: tuple[int, int]
    ) -> np.ndarray:
        """Return the moved boxes of detections of a class, inside the photograph of size (height, width)."""
        offsets_Nx4 = maps_NxM.astype(np.float32) @ self.weights_Cx4xM[label].T + self.biases_Cx4[label]
        return clipped(moved(boxes_Nx4, np.clip(offsets_Nx4, -_FARTHEST, _FARTHEST)), *size)


def train_regression(examples: Sequence[Example], features: Stored, classes: int) -> Regression:
    """Fit a ridge regression for each class to the proposals that overlap one of its objects by 0.6.

    Args:
      examples: photographs, with their objects as windows.
      features: their features.
      classes: number of classes.
    """
    scale = scale_of(examples, features, "maps_NxM")
    width = features.read(examples[0], "maps_NxM").shape[1]
    weights, biases = np.zeros((classes, 4, width), np.float32), np.zeros((classes, 4), np.float32)
    for label in progress.bar(range(classes), total=classes, unit="class", description="regression of boxes"):
        pairs = [(each, *_pairs(each, label)) for each in examples]
        total = sum(len(rows) for _, rows, _ in pairs)
        if not total:
            continue
        chosen = np.zeros(total, bool)
        chosen[np.random.default_rng(label).permutation(total)[:_MOST]] = True
        maps, targets, start = [], [], 0
        for each, rows, targets_Nx4 in pairs:
            mine = chosen[start : start + len(rows)]
            start += len(rows)
            if mine.any():
                maps.append(features.read(each, "maps_NxM")[rows[mine]].astype(np.float32) * scale)
                targets.append(targets_Nx4[mine])
        ridge = Ridge(_PENALTY).fit(np.concatenate(maps), np.concatenate(targets).astype(np.float32))
        weights[label], biases[label] = ridge.coef_ * scale, ridge.intercept_
    return Regression(weights, biases)


def _pairs(example: Example, label: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of the proposals near an object of a class, and their offsets to it."""
    photograph = example.photograph
    objects_Mx4 = photograph.boxes_Nx4[(photograph.labels_N == label) & ~photograph.difficult_N]
    boxes_Nx4 = example.boxes_Nx4[example.objects :].astype(np.float64)
    if not len(objects_Mx4):
        return np.zeros(0, np.intp), np.zeros((0, 4))
    overlap_NxM = overlaps(boxes_Nx4, objects_Mx4)
    near = np.flatnonzero(overlap_NxM.max(axis=1) > _LEAST)
    return near + example.objects, offsets(boxes_Nx4[near], objects_Mx4[overlap_NxM[near].argmax(axis=1)])
