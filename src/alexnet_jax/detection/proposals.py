"""Proposals: boxes that may hold an object of any class, by selective search (Uijlings et al. 2013)."""

from collections.abc import Callable

import numpy as np

from alexnet_jax.detection.boxes import areas, suppressed
from alexnet_jax.errors import UserError

IDENTITY = "selective search 1"
"""The method; it changes whenever other boxes would be proposed."""

_SIDE = 500  # pixels to which the longer side is rescaled; it is that of most photographs of PASCAL VOC
_LEAST = 20  # pixels of each side of a box, as in R-CNN
_ALIKE = 0.8  # overlap above which a box adds little to a better one


def selective_search() -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that proposes boxes for a photograph, uint8 of shape (height, width, 3).

    It is the fast mode of OpenCV's contributed modules: about two thousand boxes, of shape (boxes, 4), in the
    order of `ranked`. Several threads may call the function.

    Raises:
      UserError: OpenCV's contributed modules are not installed.
    """
    try:
        import cv2

        create = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation
    except (ImportError, AttributeError):  # the latter for the packages without contributed modules
        raise UserError(
            "selective search needs OpenCV's contributed modules: pip install -e '.[detection]', after other"
            " packages of OpenCV such as opencv-python have been removed"
        ) from None

    def propose(image_HxWx3: np.ndarray) -> np.ndarray:
        sides = np.array(image_HxWx3.shape[1::-1])
        scaled = np.maximum(np.round(sides * _SIDE / sides.max()), 1)
        search = create()
        bgr = np.ascontiguousarray(image_HxWx3[..., ::-1])
        search.setBaseImage(cv2.resize(bgr, scaled.astype(int).tolist(), interpolation=cv2.INTER_AREA))
        search.switchToSelectiveSearchFast()
        found = np.asarray(search.process(), np.float64).reshape(-1, 4)
        found = found[(found[:, 2:] >= _LEAST).all(axis=1)]
        boxes_Nx4 = np.concatenate([found[:, :2], found[:, :2] + found[:, 2:]], axis=1)
        return ranked(boxes_Nx4) * np.tile(sides / scaled, 2)

    return propose


def ranked(boxes_Nx4: np.ndarray) -> np.ndarray:
    """Sort proposals so that the first ones find many objects.

    The rank is the position among the boxes by falling area, times a random number between 0 and 1: selective
    search itself ranks by the position in the hierarchy of regions, in which large regions come first. A box
    that is almost the same as one before it moves behind all others. OpenCV's order would depend on the
    photographs before. This one depends on the set of boxes alone.
    """
    boxes_Nx4 = np.unique(boxes_Nx4, axis=0)
    boxes_Nx4 = boxes_Nx4[np.argsort(-areas(boxes_Nx4), kind="stable")]
    rank_N = np.random.default_rng(0).random(len(boxes_Nx4)) * np.arange(1, len(boxes_Nx4) + 1)
    first = suppressed(boxes_Nx4, -rank_N, _ALIKE)
    rank_N[first] -= len(boxes_Nx4)
    return boxes_Nx4[np.argsort(rank_N, kind="stable")]
