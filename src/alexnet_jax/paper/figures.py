"""The paper's figures 1, 3 and 4, of any net: drawn from arrays, without matplotlib's global state."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import PercentFormatter

from alexnet_jax.errors import UserError
from alexnet_jax.layers import Conv
from alexnet_jax.loops.predict import Prediction
from alexnet_jax.net.shapes import trace
from alexnet_jax.paper import charts as report_charts
from alexnet_jax.paper.figure1 import LEVEL, Figure1
from alexnet_jax.paper.neighbours import Neighbours
from alexnet_jax.training.restored import Restored

_COLUMNS = 4  # of images with bars
_KERNELS_IN_A_ROW = 16
_KERNEL = 0.5  # inches
_BLUE, _PINK, _RED, _LIGHT = "#a9cce9", "#f4a3b4", "#b3263e", "#bbbbbb"


def draw_figure1(facts: Figure1) -> Figure:
    """Figure 1: each net's training error with the rate that is quickest; the other rates behind it.

    Args:
      facts: from `figure1.gather`.
    """
    figure = Figure(figsize=(4.4, 3.1), layout="constrained")
    ax = figure.subplots()
    ax.axhline(LEVEL, color=report_charts.MUTED, linewidth=0.8, linestyle=":")
    for net, color in zip(facts.nets, cycle(report_charts.COLORS), strict=False):
        dashes = "--" if net.saturating else "-"
        for run in net.runs:
            epochs = np.arange(1, len(run.errors) + 1)
            if run is net.first and run.reached is not None:
                name = f"{net.name}, rate {run.rate:g}: {run.reached:.1f} epochs"
                ax.plot(epochs, run.errors, dashes, color=color, linewidth=2, zorder=3, label=name)
                ax.plot(run.reached, LEVEL, "o", color=color, markersize=5, zorder=4)
            else:
                ax.plot(epochs, run.errors, dashes, color=color, linewidth=0.7)
    ax.set(xlim=(0, None), ylim=(0, None))
    report_charts.plain(ax)
    ax.set_ylabel("training error", fontsize=9, color=report_charts.MUTED)
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    if any(net.first for net in facts.nets):
        ax.legend(frameon=False, fontsize=9, labelcolor=report_charts.INK)
    return figure


def first_kernels(net: Restored) -> np.ndarray:
    """Those of the convolution that reads the image: (towers, height, width, 3, maps).

    Raises:
      UserError: the net has none.
    """
    for traced in trace(net.model.layers, net.model.towers, net.model.image_shape):
        if traced.shared and isinstance(traced.layer, Conv):
            return np.asarray(net.params[traced.layer.name]["kernel"])
    raise UserError("figure 3 shows the kernels of a convolution of the image, and this net has none")


def color_shares(kernel_TxHxWx3xM: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How much of the kernels is colour: the share of their energy, sum(w^2), that is off the grey axis.

    0 of a kernel that is grey, 1 of one that answers to colour alone, 2/3 expected of random weights;
    0 where all weights are zero. In a tower's share kernels that learned little count as little.

    Returns:
      Float64 of shape (towers,), of all kernels of a tower, and (towers, maps), of each one.
    """
    w = kernel_TxHxWx3xM.astype(np.float64)
    energy_TxM = np.sum(w**2, axis=(1, 2, 3))
    grey_TxM = 3 * np.sum(w.mean(axis=3) ** 2, axis=(1, 2))
    return _off(grey_TxM.sum(axis=1), energy_TxM.sum(axis=1)), _off(grey_TxM, energy_TxM)


def _off(grey: np.ndarray, energy: np.ndarray) -> np.ndarray:
    shares = 1 - np.divide(grey, energy, out=np.ones_like(energy), where=energy != 0)
    return np.maximum(shares, 0)  # rounding


def draw_kernels(kernel_TxHxWx3xM: np.ndarray) -> Figure:
    """Figure 3: each tower's kernels, of any sign around mid-grey, and how much of them is colour.

    Args:
      kernel_TxHxWx3xM: from `first_kernels`.
    """
    towers, (rows, columns) = len(kernel_TxHxWx3xM), _grid(kernel_TxHxWx3xM.shape[-1])
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


def _grid(maps: int) -> tuple[int, int]:
    """Rows and columns for so many kernels."""
    rows = -(-maps // _KERNELS_IN_A_ROW)
    return rows, -(-maps // rows)


def mosaic(kernel_HxWx3xM: np.ndarray) -> np.ndarray:
    """A tower's kernels in rows on white, enlarged, each scaled by its own largest weight: 0 to 1."""
    rows, columns = _grid(kernel_HxWx3xM.shape[-1])
    largest_M = np.abs(kernel_HxWx3xM).max(axis=(0, 1, 2))
    scaled = 0.5 + kernel_HxWx3xM / (2 * np.where(largest_M == 0, 1, largest_M))
    enlarge = -(-66 // len(scaled))
    tiles = np.moveaxis(scaled, -1, 0).repeat(enlarge, axis=1).repeat(enlarge, axis=2)
    blank = rows * columns - len(tiles)
    tiles = np.pad(tiles, [(0, blank), (0, 0), (0, 0), (0, 0)], constant_values=1)
    tiles = np.pad(tiles, [(0, 0), (3, 3), (3, 3), (0, 0)], constant_values=1)
    _, height, width, _ = tiles.shape
    grid = tiles.reshape(rows, columns, height, width, 3).swapaxes(1, 2)
    return grid.reshape(rows * height, columns * width, 3)


def draw_predictions(predictions: Sequence[Prediction]) -> Figure:
    """Figure 4, left: each image above its right class, or its file's name, and the bars of the guesses.

    The bar of the right class, where it is known, has a colour of its own.

    Args:
      predictions: one at least.
    """
    columns = min(_COLUMNS, len(predictions))
    rows = -(-len(predictions) // columns)
    figure = Figure(
        figsize=(2.7 * columns, 4.1 * rows), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.05)
    )
    cells = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=[2.6, 1.2] * rows)
    for ax in cells.flat:
        ax.set_axis_off()
    for i, prediction in enumerate(predictions):
        row, column = divmod(i, columns)
        cells[2 * row, column].imshow(prediction.image)
        _bars(cells[2 * row + 1, column], prediction)
    return figure


def _bars(ax: Axes, prediction: Prediction) -> None:
    right = prediction.right
    caption = right.name if right else Path(prediction.path).name
    ax.set_title(_short(caption, 30), fontsize=10, fontweight="bold" if right else "normal", parse_math=False)
    for place, guess in enumerate(prediction.guesses):
        color = _PINK if right and guess.label == right.label else _BLUE
        ax.barh(place, guess.probability, color=color, height=0.82)
        ax.text(0.02, place, _short(guess.name, 26), va="center", fontsize=9, parse_math=False)
        ax.text(0.98, place, f"{guess.probability:.1%}", va="center", ha="right", fontsize=9)
    ax.set(xlim=(0, 1), ylim=(len(prediction.guesses) - 0.4, -0.6), xticks=[], yticks=[])
    ax.set_axis_on()
    ax.spines[:].set_color(_LIGHT)


def draw_neighbours(found: Neighbours, class_words: Sequence[str]) -> Figure:
    """Figure 4, right: a row for each test image, with its class, and the training images nearest to it.

    Those carry their distance, and their class where it is another one.

    Args:
      found: one test image at least.
      class_words: names of the classes, by label.
    """
    count, near = found.near_rows.shape
    figure = Figure(figsize=(1.25 * (near + 1.25), 1.45 * count + 0.1), layout="constrained")
    grid = figure.add_gridspec(count, near + 2, width_ratios=[1, 0.25, *[1] * near])
    for i in range(count):
        ax = figure.add_subplot(grid[i, 0])
        _picture(ax, found.images[i])
        name = _short(class_words[found.labels[i]], 15)
        ax.set_xlabel(name, fontsize=9, fontweight="bold", labelpad=3, parse_math=False)
        for j in range(near):
            ax = figure.add_subplot(grid[i, 2 + j])
            _picture(ax, found.near_images[i, j])
            same = found.near_labels[i, j] == found.labels[i]
            name = "" if same else f"{_short(class_words[found.near_labels[i, j]], 12)}, "
            distance = f"{found.distances[i, j]:#.3g}".rstrip(".")
            color = "black" if same else _RED
            ax.set_xlabel(name + distance, fontsize=8, color=color, labelpad=3, parse_math=False)
    return figure


def _picture(ax: Axes, image_HxWx3: np.ndarray) -> None:
    ax.imshow(image_HxWx3)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
