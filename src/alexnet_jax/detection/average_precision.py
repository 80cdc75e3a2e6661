"""Average precision, as the development kit of PASCAL VOC measures it.

The detections of a class are sorted by falling score. One that overlaps an object of its photograph by an
intersection over union of at least 0.5 has found the object that it overlaps most. It is right if it is the
first to find this object, and wrong otherwise. It counts as neither if the object is marked as difficult.
Difficult objects are not counted as objects either.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from alexnet_jax.detection.boxes import overlaps

LEAST_OVERLAP = 0.5
"""Least intersection over union of a detection with the object that it finds."""


@dataclasses.dataclass(frozen=True)
class Detections:
    """The detections of a class in a set of photographs.

    Attributes:
      photographs_N: number of the photograph of each detection.
      boxes_Nx4: boxes, as in `boxes`.
      scores_N: scores. Among equal ones the order of the detections decides.
    """

    photographs_N: np.ndarray
    boxes_Nx4: np.ndarray
    scores_N: np.ndarray


@dataclasses.dataclass(frozen=True)
class Objects:
    """The objects of a class in a photograph.

    Attributes:
      boxes_Nx4: boxes, as in `boxes`.
      difficult_N: which objects are marked as difficult.
    """

    boxes_Nx4: np.ndarray
    difficult_N: np.ndarray


@dataclasses.dataclass(frozen=True)
class Counts:
    """The numbers of right and wrong detections among those with the highest scores.

    Attributes:
      right_K: how many of the first k + 1 detections are right, for each k. Detections that count as neither
        are left out.
      wrong_K: how many of them are wrong.
      objects: number of objects that are not difficult.
    """

    right_K: np.ndarray
    wrong_K: np.ndarray
    objects: int

    @property
    def precision(self) -> np.ndarray:
        """The fraction of the first k + 1 detections that is right, for each k."""
        return self.right_K / np.maximum(self.right_K + self.wrong_K, 1)


def count(detections: Detections, objects: Sequence[Objects]) -> Counts:
    """Count right and wrong detections of a class.

    Args:
      detections: detections in all photographs.
      objects: objects in each photograph.
    """
    found = [np.zeros(len(each.difficult_N), bool) for each in objects]
    outcomes = []
    for i in np.argsort(-detections.scores_N, kind="stable"):
        photograph = detections.photographs_N[i]
        there = objects[photograph]
        if not len(there.difficult_N):  # as in most photographs
            outcomes.append(False)
            continue
        overlap_M = overlaps(detections.boxes_Nx4[i : i + 1], there.boxes_Nx4)[0]
        best = int(overlap_M.argmax())
        if overlap_M[best] < LEAST_OVERLAP:
            outcomes.append(False)
        elif not there.difficult_N[best]:
            outcomes.append(not found[photograph][best])
            found[photograph][best] = True
    right_K = np.array(outcomes, bool)
    return Counts(
        np.cumsum(right_K), np.cumsum(~right_K), sum(int((~each.difficult_N).sum()) for each in objects)
    )


def eleven_points(counts: Counts) -> float:
    """Return the average precision of VOC2007: the mean of the highest precision at eleven recalls.

    They are the recalls of at least 0, 0.1, ..., 1, compared without rounding. NaN if there are no objects.
    """
    if not counts.objects:
        return float("nan")
    highest = [
        counts.precision[10 * counts.right_K >= tenths * counts.objects].max(initial=0)
        for tenths in range(11)
    ]
    return float(np.mean(highest))


def area(counts: Counts) -> float:
    """Return the average precision from VOC2010 on: the area under the curve of precision over recall.

    The precision at a recall is the highest one at any recall that is at least as high. NaN if there are no
    objects.
    """
    if not counts.objects:
        return float("nan")
    highest_K = np.maximum.accumulate(counts.precision[::-1])[::-1]
    return float(highest_K[np.diff(counts.right_K, prepend=0) > 0].sum() / counts.objects)
