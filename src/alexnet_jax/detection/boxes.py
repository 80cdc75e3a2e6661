"""Boxes: overlap, suppression of duplicates, and the offsets that box regression predicts.

A box is (x1, y1, x2, y2) in pixels, with x to the right and y down. It contains the pixels from x1 to x2 - 1,
the first of which has the number 0. So its width is x2 - x1. PASCAL VOC writes the numbers of the first and
the last pixel, counted from 1: (xmin, ymin, xmax, ymax) is (xmin - 1, ymin - 1, xmax, ymax) here, and areas
are those of the development kit, which adds 1 to each difference.
"""

import numpy as np


def areas(boxes_Nx4: np.ndarray) -> np.ndarray:
    """Return the area of each box in pixels, of shape (boxes,). A box with a negative side has the area 0."""
    return np.prod(np.maximum(boxes_Nx4[..., 2:] - boxes_Nx4[..., :2], 0), axis=-1)


def overlaps(boxes_Nx4: np.ndarray, others_Mx4: np.ndarray) -> np.ndarray:
    """Return the intersection over union of each box with each other box, of shape (boxes, others)."""
    low = np.maximum(boxes_Nx4[:, None, :2], others_Mx4[None, :, :2])
    high = np.minimum(boxes_Nx4[:, None, 2:], others_Mx4[None, :, 2:])
    common_NxM = areas(np.concatenate([low, high], axis=-1))
    union_NxM = areas(boxes_Nx4)[:, None] + areas(others_Mx4)[None, :] - common_NxM
    return common_NxM / np.maximum(union_NxM, 1e-12)


def suppressed(
    boxes_Nx4: np.ndarray, scores_N: np.ndarray, most: float, count: int | None = None
) -> np.ndarray:
    """Remove each box that overlaps one with a higher score: greedy non-maximum suppression.

    Args:
      boxes_Nx4: the boxes.
      scores_N: their scores. Of equal ones the first counts as higher.
      most: intersection over union above which a box is removed.
      count: number of boxes to find; None for all.

    Returns:
      The numbers of the boxes that remain, in the order of falling scores.
    """
    left = np.argsort(-scores_N, kind="stable")
    kept: list[int] = []
    while len(left) and len(kept) != count:
        kept.append(int(left[0]))
        left = left[1:][overlaps(boxes_Nx4[left[:1]], boxes_Nx4[left[1:]])[0] <= most]
    return np.array(kept, np.intp)


def offsets(boxes_Nx4: np.ndarray, targets_Nx4: np.ndarray) -> np.ndarray:
    """Return the offsets from each box to its target, (boxes, 4): appendix C of R-CNN.

    They are the distance of the centres, as a fraction of the box, and the logarithm of the ratio of the
    sides.
    """
    sides, target_sides = boxes_Nx4[:, 2:] - boxes_Nx4[:, :2], targets_Nx4[:, 2:] - targets_Nx4[:, :2]
    centres, target_centres = boxes_Nx4[:, :2] + sides / 2, targets_Nx4[:, :2] + target_sides / 2
    return np.concatenate([(target_centres - centres) / sides, np.log(target_sides / sides)], axis=1)


def moved(boxes_Nx4: np.ndarray, offsets_Nx4: np.ndarray) -> np.ndarray:
    """Move boxes by their offsets: the inverse of `offsets`."""
    sides = boxes_Nx4[:, 2:] - boxes_Nx4[:, :2]
    centres = boxes_Nx4[:, :2] + sides / 2 + offsets_Nx4[:, :2] * sides
    half = sides * np.exp(offsets_Nx4[:, 2:]) / 2
    return np.concatenate([centres - half, centres + half], axis=1)


def clipped(boxes_Nx4: np.ndarray, height: float, width: float) -> np.ndarray:
    """Cut boxes at the edges of a photograph."""
    return np.clip(boxes_Nx4, 0, [width, height, width, height])
