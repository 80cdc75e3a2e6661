"""Slices and sums of windows of images, BxHxWxC."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax


def sums_over_windows(
    x: jax.Array, window: int, stride: int, padding: Sequence[tuple[int, int]]
) -> jax.Array:
    """Sum over each window: first within the rows, then within the columns."""
    x = jnp.pad(x, [(0, 0), *padding, (0, 0)])
    for axis in (2, 1):
        x = functools.reduce(jnp.add, strided_slices(x, axis, window, stride))
    return x


def strided_slices(x: jax.Array, axis: int, window: int, stride: int) -> list[jax.Array]:
    """Return the first position of every window along an axis, the second one, and so on."""
    last = (x.shape[axis] - window) // stride * stride
    return [lax.slice_in_dim(x, i, i + last + 1, stride, axis) for i in range(window)]


def windows_as_channels(x: jax.Array, axis: int, size: Sequence[int]) -> jax.Array:
    """Turn each window into one position, whose channels are the window's rows, columns and channels.

    Args:
      x: array with an axis of rows, followed by one of columns. Channels are last.
      axis: the axis of rows.
      size: height and width of the windows. The distance between neighbouring windows is 1.
    """
    slices = [
        elements
        for rows in strided_slices(x, axis, size[0], 1)
        for elements in strided_slices(rows, axis + 1, size[1], 1)
    ]
    return jnp.concatenate(slices, axis=-1)
