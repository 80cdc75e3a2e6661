"""The operations that a library does not have in the form the paper means.

Images are BxHxWxC. Each has one definition; the ways to compute it were chosen by measurement
(see ``benchmarks/``): sums and maxima over windows go along one direction after the other,
by strided slices, whose gradients are quick on every platform.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from alexnet_jax import cpu
from alexnet_jax.layers import LRN, AvgPool, MapNorm, MaxPool


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv(x: jax.Array, kernel_HxWxIxO: jax.Array, stride: int, padding: tuple[int, int]) -> jax.Array:
    """Cross-correlation, as every network library calls convolution."""
    return _conv(x, kernel_HxWxIxO, stride, padding)


def _conv(x: jax.Array, kernel_HxWxIxO: jax.Array, stride: int, padding: tuple[int, int]) -> jax.Array:
    return lax.conv_general_dilated(
        x, kernel_HxWxIxO, (stride, stride), (padding, padding), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _conv_forward(
    x: jax.Array, kernel: jax.Array, stride: int, padding: tuple[int, int]
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _conv(x, kernel, stride, padding), (x, kernel)


def _conv_backward(
    stride: int, padding: tuple[int, int], saved: tuple[jax.Array, jax.Array], g: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The library's gradients, but on a CPU that of the kernel."""
    x, kernel = saved
    (by_x,) = jax.linear_transpose(lambda x: _conv(x, kernel, stride, padding), x)(g)
    by_kernel = lax.platform_dependent(
        x,
        g,
        cpu=lambda x, g: cpu.kernel_gradient(x, g, kernel.shape[:2], stride, padding),
        default=lambda x, g: jax.linear_transpose(lambda w: _conv(x, w, stride, padding), kernel)(g)[0],
    )
    return by_x, by_kernel


conv.defvjp(_conv_forward, _conv_backward)


def lrn(
    x: jax.Array, layer: LRN, before: jax.Array | None = None, after: jax.Array | None = None
) -> jax.Array:
    """Normalization over neighbouring maps; the sum over the window is a product with a banded matrix.

    Args:
      x: the maps of a tower, in the last axis.
      layer: what to do.
      before: the last maps of the tower before, as many as the window reaches; none by default.
      after: the first maps of the tower after.
    """
    beside = [maps for maps in (before, x, after) if maps is not None]
    reached = jnp.concatenate(beside, axis=-1) if len(beside) > 1 else x
    own = jnp.arange(x.shape[-1]) + (0 if before is None else before.shape[-1])
    # The window of map i is i - floor(window / 2) ... i - floor(window / 2) + window - 1.
    distance = jnp.arange(reached.shape[-1])[:, None] - own[None, :] + layer.reach[0]
    band = ((distance >= 0) & (distance < layer.window)).astype(x.dtype)
    alpha = layer.alpha / (layer.window if layer.divide_alpha else 1)
    sums = jnp.matmul(reached * reached, band, preferred_element_type=jnp.float32)
    return (x * _negative_power(layer.k + alpha * sums, layer.beta)).astype(x.dtype)


def map_norm(x: jax.Array, layer: MapNorm) -> jax.Array:
    """Normalization over neighbouring places of the same map."""
    before = layer.window // 2
    padding = (before, layer.window - 1 - before)
    squares = jnp.square(x.astype(jnp.float32))
    sums = _over_windows(jnp.add, squares, layer.window, 1, lambda _: padding, 0.0)
    return (x * _negative_power(1 + layer.alpha / layer.window**2 * sums, layer.beta)).astype(x.dtype)


def max_pool(x: jax.Array, layer: MaxPool) -> jax.Array:
    """The maximum over each window."""
    return _over_windows(jnp.maximum, x, layer.window, layer.stride, _reach_over(layer), -jnp.inf)


def avg_pool(x: jax.Array, layer: AvgPool) -> jax.Array:
    """The mean over the places of each window that exist."""

    def total(x: jax.Array) -> jax.Array:
        return _over_windows(jnp.add, x, layer.window, layer.stride, _reach_over(layer), 0.0)

    return total(x) / total(jnp.ones((1, *x.shape[1:3], 1), x.dtype))


def _negative_power(x: jax.Array, beta: float) -> jax.Array:
    """X ^ -beta for x > 0; the 3/4 that everybody uses needs no logarithm."""
    if beta == 0.75:
        root = lax.rsqrt(x)
        return root * jnp.sqrt(root)
    return x**-beta


def _reach_over(layer: MaxPool | AvgPool) -> Callable[[int], tuple[int, int]]:
    """The padding of one direction, given its size."""
    return lambda size: (0, -(size - layer.window) % layer.stride if layer.ceil else 0)


def _over_windows(
    combine: Callable[[jax.Array, jax.Array], jax.Array],
    x: jax.Array,
    window: int,
    stride: int,
    padding: Callable[[int], tuple[int, int]],
    fill: float,
) -> jax.Array:
    """Combines the places of each window: first along the rows, then along the columns."""
    for axis in (2, 1):
        config = [(0, 0, 0)] * x.ndim
        config[axis] = (*padding(x.shape[axis]), 0)
        padded = lax.pad(x, jnp.asarray(fill, x.dtype), config)
        last = (padded.shape[axis] - window) // stride * stride
        places = [lax.slice_in_dim(padded, i, i + last + 1, stride, axis) for i in range(window)]
        x = functools.reduce(combine, places)
    return x
