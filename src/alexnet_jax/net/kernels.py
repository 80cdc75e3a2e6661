"""The kernels of the first convolution, and a picture of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from alexnet_jax.layers import Conv
from alexnet_jax.net.shapes import LayerShapes, Params

_KERNELS_IN_A_ROW = 16


def first_kernels(layers: Sequence[LayerShapes], params: Params) -> Any:
    """Return the kernels of the convolution that reads the image: (towers, height, width, 3, channels).

    None if no convolution reads the image.
    """
    for shapes in layers:
        if shapes.shared and isinstance(shapes.layer, Conv):
            return params[shapes.layer.name]["kernel"]
    return None


def grid(kernels: int) -> tuple[int, int]:
    """Return the rows and columns for this number of kernels."""
    rows = -(-kernels // _KERNELS_IN_A_ROW)
    return rows, -(-kernels // rows)


def mosaic(kernel_HxWx3xM: np.ndarray) -> np.ndarray:
    """Return an image of the kernels of a tower, enlarged, in rows on white.

    Each kernel is scaled by its largest absolute weight.

    Args:
      kernel_HxWx3xM: kernels of shape (height, width, 3, channels).

    Returns:
      Floats between 0 and 1 of shape (rows, columns, 3); 0.5 is a weight of zero.
    """
    rows, columns = grid(kernel_HxWx3xM.shape[-1])
    largest_M = np.abs(kernel_HxWx3xM).max(axis=(0, 1, 2))
    scaled = 0.5 + kernel_HxWx3xM / (2 * np.where(largest_M == 0, 1, largest_M))
    enlarge = -(-66 // len(scaled))
    tiles = np.moveaxis(scaled, -1, 0).repeat(enlarge, axis=1).repeat(enlarge, axis=2)
    blank = rows * columns - len(tiles)
    tiles = np.pad(tiles, [(0, blank), (0, 0), (0, 0), (0, 0)], constant_values=1)
    tiles = np.pad(tiles, [(0, 0), (3, 3), (3, 3), (0, 0)], constant_values=1)
    _, height, width, _ = tiles.shape
    cells = tiles.reshape(rows, columns, height, width, 3).swapaxes(1, 2)
    return cells.reshape(rows * height, columns * width, 3)
