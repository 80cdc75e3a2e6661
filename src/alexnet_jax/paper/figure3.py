"""Figure 3 of the paper: the kernels of the first convolution, and the share of colour in them."""

import dataclasses

import numpy as np
from matplotlib.figure import Figure

from alexnet_jax.errors import UserError
from alexnet_jax.net import kernels
from alexnet_jax.net.kernels import grid, mosaic
from alexnet_jax.training.restored import Restored

_KERNEL = 0.5  # inches


@dataclasses.dataclass(frozen=True, eq=False)
class Figure3:
    """The data of figure 3 for a page.

    Attributes:
      mosaics: images of the kernels, one for each tower, from `mosaic`.
      shares: shares of colour for each tower: (of all kernels together, smallest of a kernel, largest).
    """

    mosaics: list[np.ndarray]
    shares: list[tuple[float, float, float]]


def gather(net: Restored) -> Figure3:
    """Gather the data of the figure for a network.

    Raises:
      UserError: no convolution of the network reads the image.
    """
    found = first_kernels(net)
    shares = zip(*color_shares(found), strict=True)
    return Figure3(
        [mosaic(kernel) for kernel in found],
        [(float(share), float(each.min()), float(each.max())) for share, each in shares],
    )


def first_kernels(net: Restored) -> np.ndarray:
    """Return the kernels of the convolution that reads the image: (towers, height, width, 3, channels).

    Raises:
      UserError: no convolution reads the image.
    """
    found = kernels.first_kernels(net.model.shapes, net.params)
    if found is None:
        raise UserError("figure 3 shows the kernels of a convolution of the image, and this network has none")
    return np.asarray(found)


def color_shares(kernel_TxHxWx3xM: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of colour in kernels: the fraction of their energy, sum(w^2), that is not grey.

    It is 0 for a grey kernel, 1 for one without a grey part, 2/3 on average for random weights, and 0 if all
    weights are zero. A tower's share is weighted by energy, so kernels with small weights count little.

    Args:
      kernel_TxHxWx3xM: kernels of shape (towers, height, width, 3, channels).

    Returns:
      Float64 of shape (towers,), for all kernels of a tower, and (towers, channels), for each kernel.
    """
    w = kernel_TxHxWx3xM.astype(np.float64)
    energy_TxM = np.sum(w**2, axis=(1, 2, 3))
    grey_TxM = 3 * np.sum(w.mean(axis=3) ** 2, axis=(1, 2))
    return _off(grey_TxM.sum(axis=1), energy_TxM.sum(axis=1)), _off(grey_TxM, energy_TxM)


def _off(grey: np.ndarray, energy: np.ndarray) -> np.ndarray:
    shares = 1 - np.divide(grey, energy, out=np.ones_like(energy), where=energy != 0)
    return np.maximum(shares, 0)  # rounding may make them negative


def draw_kernels(kernel_TxHxWx3xM: np.ndarray) -> Figure:
    """Draw the kernels of each tower, with their share of colour. Mid-grey is zero.

    Args:
      kernel_TxHxWx3xM: kernels from `first_kernels`.
    """
    towers, (rows, columns) = len(kernel_TxHxWx3xM), grid(kernel_TxHxWx3xM.shape[-1])
    size = (max(6.0, _KERNEL * columns), towers * (_KERNEL * rows + 0.35))
    figure = Figure(figsize=size, layout="constrained")
    cells = figure.subplots(towers, 1, squeeze=False)[:, 0]
    of_towers, of_kernels = color_shares(kernel_TxHxWx3xM)
    for i, (ax, share, shares_M) in enumerate(zip(cells, of_towers, of_kernels, strict=True)):
        ax.imshow(mosaic(kernel_TxHxWx3xM[i]), interpolation="nearest")
        ax.set_axis_off()
        start = f"Tower {i + 1}: colour" if towers > 1 else "Colour"
        ax.set_title(
            f"{start} is {share:.0%} of the kernels' energy ({shares_M.min():.0%} to {shares_M.max():.0%})",
            fontsize=10,
        )
    return figure
