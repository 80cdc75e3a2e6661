"""Windows: what the network sees of a photograph, a box warped to the size of its input."""

import numpy as np
from PIL import Image

CONTEXT = 16
"""Pixels of a window around its box, as in R-CNN."""

LEAST_SIDE = 4 * CONTEXT
"""Smallest side of a window in pixels. Below it, most of a window would be context."""


def warped(image: Image.Image, box_4: np.ndarray, fill_SxSx3: np.ndarray) -> np.ndarray:
    """Warp a box to a square, with `CONTEXT` pixels of the photograph around it.

    Args:
      image: the photograph, RGB.
      box_4: a box inside the photograph, with an area.
      fill_SxSx3: uint8, the pixels where the context reaches beyond the photograph: the mean image.

    Returns:
      Uint8 of shape (side, side, 3).
    """
    side, box_4 = len(fill_SxSx3), box_4.astype(np.float64)
    sizes_2 = np.array(image.size)
    scale_2 = (box_4[2:] - box_4[:2]) / (side - 2 * CONTEXT)  # pixels of the photograph in one of the window
    origin_2 = box_4[:2] - CONTEXT * scale_2
    low_2, high_2 = np.maximum(origin_2, 0), np.minimum(origin_2 + side * scale_2, sizes_2)
    left, top = np.round((low_2 - origin_2) / scale_2).astype(int).tolist()
    right, bottom = np.round((high_2 - origin_2) / scale_2).astype(int).tolist()
    box = (*low_2.tolist(), *high_2.tolist())
    window = fill_SxSx3.copy()
    window[top:bottom, left:right] = image.resize(
        (right - left, bottom - top), Image.Resampling.BILINEAR, box
    )
    return window
