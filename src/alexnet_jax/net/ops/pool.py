"""Max and average pooling. Images are BxHxWxC.

The definitions come first. Below them is max pooling for CPUs, which must equal its definition.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from alexnet_jax.layers import AvgPool, MaxPool
from alexnet_jax.net.ops.versions import by_platform
from alexnet_jax.net.ops.windows import strided_slices, sums_over_windows


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def max_pool(x: jax.Array, layer: MaxPool) -> jax.Array:
    """Compute the maximum of each window. Of equal elements, one receives the gradient."""
    where = layer.window, layer.stride, _padding(x, layer)
    return by_platform(x, cpu=lambda x: _cpu_max_pool(x, *where), default=lambda x: _max_pool(x, *where))


def _max_pool(x: jax.Array, window: int, stride: int, padding: Sequence[tuple[int, int]]) -> jax.Array:
    """Define `max_pool`: every version must equal this one."""
    sizes, strides = (1, window, window, 1), (1, stride, stride, 1)
    return lax.reduce_window(x, -jnp.inf, lax.max, sizes, strides, [(0, 0), *padding, (0, 0)])


def _max_pool_forward(x: jax.Array, layer: MaxPool) -> tuple[jax.Array, jax.Array]:
    return max_pool(x, layer), x


def _max_pool_backward(layer: MaxPool, x: jax.Array, g: jax.Array) -> tuple[jax.Array]:
    where = layer.window, layer.stride, _padding(x, layer)
    by_x: jax.Array = by_platform(
        x,
        g,
        cpu=lambda x, g: _cpu_max_pool_gradient(x, g, *where),
        default=lambda x, g: jax.vjp(lambda x: _max_pool(x, *where), x)[1](g)[0],
    )
    return (by_x,)


max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def avg_pool(x: jax.Array, layer: AvgPool) -> jax.Array:
    """Compute the mean over the positions of each window that lie inside the image."""
    where = layer.window, layer.stride, _padding(x, layer)
    return sums_over_windows(x, *where) / sums_over_windows(jnp.ones((1, *x.shape[1:3], 1), x.dtype), *where)


def _padding(x: jax.Array, layer: MaxPool | AvgPool) -> list[tuple[int, int]]:
    """Return how far the last windows reach over the edge, for rows and columns."""
    return [(0, -(size - layer.window) % layer.stride if layer.ceil else 0) for size in x.shape[1:3]]


def _cpu_max_pool(x: jax.Array, window: int, stride: int, padding: Sequence[tuple[int, int]]) -> jax.Array:
    """Compute `max_pool` on a CPU: along the columns, then along the rows."""
    return _maxima(x, window, stride, padding)[-1].astype(x.dtype)


def _cpu_max_pool_gradient(
    x: jax.Array, g: jax.Array, window: int, stride: int, padding: Sequence[tuple[int, int]]
) -> jax.Array:
    """Compute the gradient of `max_pool` with respect to x from the gradient of the output."""
    dtype, g = g.dtype, g.astype(jnp.float32)
    # Without the barrier, XLA may compute x again and not round it. Then no element may equal the maximum.
    x, along_columns, along_both = _maxima(lax.optimization_barrier(x), window, stride, padding)
    g = _to_positions(along_columns, along_both, g, 2, window, stride)
    g = _to_positions(x, along_columns, g, 1, window, stride)
    (top, bottom), (left, right) = padding
    return g[:, top : g.shape[1] - bottom, left : g.shape[2] - right].astype(dtype)


def _maxima(
    x: jax.Array, window: int, stride: int, padding: Sequence[tuple[int, int]]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return the padded x, the maxima along its columns, and their maxima along the rows, in float32.

    On CPUs XLA computes maxima of bfloat16 one at a time: forward, 7 to 11 times as slow (docs/notebook.md).
    """
    x = lax.pad(
        x.astype(jnp.float32), jnp.float32(-jnp.inf), [(0, 0, 0), *((*p, 0) for p in padding), (0, 0, 0)]
    )
    columns = functools.reduce(jnp.maximum, strided_slices(x, 1, window, stride))
    return x, columns, functools.reduce(jnp.maximum, strided_slices(columns, 2, window, stride))


def _to_positions(
    x: jax.Array, maxima: jax.Array, g: jax.Array, axis: int, window: int, stride: int
) -> jax.Array:
    """Compute the gradient with respect to x of the maxima along an axis.

    Positions at the same distance from a multiple of the stride form a dense array. These arrays are
    interleaved. One array for each position of the window would be sparse.
    """
    windows, later = maxima.shape[axis], (window - 1) // stride
    by_phase: list[jax.Array | None] = [None] * stride
    free = jnp.ones(maxima.shape, bool)
    for i, elements in enumerate(strided_slices(x, axis, window, stride)):
        wins = free & (elements == maxima)
        free &= ~wins
        config = [(0, 0, 0)] * x.ndim
        config[axis] = (i // stride, later - i // stride, 0)
        part = lax.pad(jnp.where(wins, g, 0), jnp.zeros((), g.dtype), config)
        before = by_phase[i % stride]
        by_phase[i % stride] = part if before is None else before + part
    shape = list(maxima.shape)
    shape[axis] = windows + later
    phases = [jnp.zeros_like(g, shape=shape) if phase is None else phase for phase in by_phase]
    shape[axis] *= stride
    by_x = jnp.stack(phases, axis + 1).reshape(shape)
    missing = x.shape[axis] - shape[axis]
    config = [(0, 0, 0)] * x.ndim
    config[axis] = (0, missing, 0)  # negative: lax.pad removes positions
    return lax.pad(by_x, jnp.zeros((), g.dtype), config)
