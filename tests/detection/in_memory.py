"""Photographs with windows and features that exist in memory alone."""

import numpy as np

from alexnet_jax.detection.annotations import Photograph
from alexnet_jax.detection.examples import Example


def example(objects, proposals, labels, difficult=None):
    """Return a photograph of 100x100 pixels whose windows are its objects and some proposals."""
    boxes = np.array(objects, np.float64).reshape(-1, 4)
    marks = np.zeros(len(boxes), bool) if difficult is None else np.array(difficult, bool)
    photograph = Photograph("x", "x", (100, 100), boxes, np.array(labels, np.intp), marks)
    windows = np.concatenate([boxes, np.array(proposals, np.float64).reshape(-1, 4)]).astype(np.float32)
    return Example(photograph, windows, len(boxes), 0)


class Features:
    """Features of examples, by their position in memory."""

    def __init__(self, examples, arrays):
        self._arrays = {
            id(each): array.astype(np.float16) for each, array in zip(examples, arrays, strict=True)
        }

    def read(self, each, name):
        return self._arrays[id(each)]
