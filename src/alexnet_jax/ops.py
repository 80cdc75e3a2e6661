"""The operations that a library does not have in the form the paper means.

Images are BxHxWxC. Each has one definition here; what is quick under one compiler alone is in a module
of its own (``cpu``) and chosen when the program is lowered for a platform.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from alexnet_jax import cpu
from alexnet_jax.layers import LRN, AvgPool, MapNorm, MaxPool


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv(x: jax.Array, kernel_HxWxIxO: jax.Array, stride: int, padding: tuple[int, int]) -> jax.Array:
    """Cross-correlation, as every network library calls convolution."""
    return lax.platform_dependent(
        x,
        kernel_HxWxIxO,
        cpu=lambda x, kernel: cpu.conv(x, kernel, stride, padding),
        default=lambda x, kernel: _conv(x, kernel, stride, padding),
    )


def _conv(x: jax.Array, kernel_HxWxIxO: jax.Array, stride: int, padding: tuple[int, int]) -> jax.Array:
    return lax.conv_general_dilated(
        x, kernel_HxWxIxO, (stride, stride), (padding, padding), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _conv_forward(
    x: jax.Array, kernel: jax.Array, stride: int, padding: tuple[int, int]
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return conv(x, kernel, stride, padding), (x, kernel)


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
    return _lrn(reached, layer, 0 if before is None else before.shape[-1], x.shape[-1])


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _lrn(reached: jax.Array, layer: LRN, first: int, maps: int) -> jax.Array:
    """So many maps from the first on, over all that their windows reach."""
    return _lrn_forward(reached, layer, first, maps)[0]


def _lrn_forward(
    reached: jax.Array, layer: LRN, first: int, maps: int
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    band = _band(layer, reached.shape[-1], first, maps).astype(reached.dtype)
    sums = jnp.matmul(reached * reached, band, preferred_element_type=jnp.float32)
    base = layer.k + _alpha(layer) * sums
    x = lax.slice_in_dim(reached, first, first + maps, axis=-1)
    return (x * _negative_power(base, layer.beta)).astype(x.dtype), (reached, base.astype(x.dtype))


def _lrn_backward(
    layer: LRN, first: int, maps: int, saved: tuple[jax.Array, jax.Array], g: jax.Array
) -> tuple[jax.Array]:
    """Of y = x base^-beta, base = k + alpha sums of x^2: autodiff keeps more arrays."""
    reached, base = saved[0], saved[1].astype(jnp.float32)
    x = lax.slice_in_dim(reached, first, first + maps, axis=-1)
    scaled = g * _negative_power(base, layer.beta)
    # The band the other way round: from each sum back to the maps whose squares are in it.
    band = _band(layer, reached.shape[-1], first, maps).astype(x.dtype)
    spread = jnp.matmul((scaled * x / base).astype(x.dtype), band.T, preferred_element_type=jnp.float32)
    own = jnp.pad(scaled, [(0, 0)] * (x.ndim - 1) + [(first, reached.shape[-1] - first - maps)])
    return ((own - 2 * _alpha(layer) * layer.beta * reached * spread).astype(x.dtype),)


_lrn.defvjp(_lrn_forward, _lrn_backward)


def _band(layer: LRN, reached: int, first: int, maps: int) -> jax.Array:
    """Where a map is in the window of another: i - floor(window / 2) ... + window - 1 for map i."""
    distance = jnp.arange(reached)[:, None] - (first + jnp.arange(maps)) + layer.reach[0]
    return (distance >= 0) & (distance < layer.window)


def _alpha(layer: LRN) -> float:
    return layer.alpha / (layer.window if layer.divide_alpha else 1)


def map_norm(x: jax.Array, layer: MapNorm) -> jax.Array:
    """Normalization over neighbouring places of the same map."""
    before = layer.window // 2
    padding = (before, layer.window - 1 - before)
    sums = _sums(jnp.square(x.astype(jnp.float32)), layer.window, 1, [padding] * 2)
    return (x * _negative_power(1 + layer.alpha / layer.window**2 * sums, layer.beta)).astype(x.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def max_pool(x: jax.Array, layer: MaxPool) -> jax.Array:
    """The maximum over each window; of equals one gets the gradient."""
    where = layer.window, layer.stride, _padding(x, layer)
    return lax.platform_dependent(
        x, cpu=lambda x: cpu.max_pool(x, *where), default=lambda x: _max_pool(x, *where)
    )


def _max_pool(x: jax.Array, window: int, stride: int, padding: Sequence[tuple[int, int]]) -> jax.Array:
    sizes, strides = (1, window, window, 1), (1, stride, stride, 1)
    return lax.reduce_window(x, -jnp.inf, lax.max, sizes, strides, [(0, 0), *padding, (0, 0)])


def _max_pool_forward(x: jax.Array, layer: MaxPool) -> tuple[jax.Array, jax.Array]:
    return max_pool(x, layer), x


def _max_pool_backward(layer: MaxPool, x: jax.Array, g: jax.Array) -> tuple[jax.Array]:
    where = layer.window, layer.stride, _padding(x, layer)
    by_x: jax.Array = lax.platform_dependent(
        x,
        g,
        cpu=lambda x, g: cpu.max_pool_gradient(x, g, *where),
        default=lambda x, g: jax.vjp(lambda x: _max_pool(x, *where), x)[1](g)[0],
    )
    return (by_x,)


max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def avg_pool(x: jax.Array, layer: AvgPool) -> jax.Array:
    """The mean over the places of each window that exist."""
    where = layer.window, layer.stride, _padding(x, layer)
    return _sums(x, *where) / _sums(jnp.ones((1, *x.shape[1:3], 1), x.dtype), *where)


def _negative_power(x: jax.Array, beta: float) -> jax.Array:
    """X ^ -beta for x > 0; the 3/4 that everybody uses needs no logarithm."""
    if beta == 0.75:
        root = lax.rsqrt(x)
        return root * jnp.sqrt(root)
    return x**-beta


def _padding(x: jax.Array, layer: MaxPool | AvgPool) -> list[tuple[int, int]]:
    """Of rows and columns: what the last windows reach over the edge."""
    return [(0, -(size - layer.window) % layer.stride if layer.ceil else 0) for size in x.shape[1:3]]


def _sums(x: jax.Array, window: int, stride: int, padding: Sequence[tuple[int, int]]) -> jax.Array:
    """The sum over each window: first along the rows, then along the columns."""
    x = jnp.pad(x, [(0, 0), *padding, (0, 0)])
    for axis in (2, 1):
        last = (x.shape[axis] - window) // stride * stride
        places = [lax.slice_in_dim(x, i, i + last + 1, stride, axis) for i in range(window)]
        x = functools.reduce(jnp.add, places)
    return x
