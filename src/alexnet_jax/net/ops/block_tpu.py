"""A TPU kernel for ReLU, LRN and max pooling. `block` defines the operation and chooses the kernel.

Memory bandwidth limits these operations on a TPU. XLA writes the outputs of ReLU and LRN and reads them
again, which is several times the traffic of the pool's output. This kernel reads or writes each array once.
See "Pallas" in JAX's documentation.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from alexnet_jax.layers import LRN
from alexnet_jax.net.ops.block_tiles import LANES, images_in_a_tile
from alexnet_jax.net.ops.lrn import negative_power


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def relu_lrn_max_pool(x_BxHxWxC: jax.Array, bias_C: jax.Array, norm: LRN) -> jax.Array:
    """Apply ReLU, LRN and pooling (windows of 3x3, stride 2) to x + bias, if `block_tiles.fits_tpu`.

    For the gradient, only x + bias and the positions of the maxima are kept. The rest is recomputed.
    """
    return _forward(x_BxHxWxC, bias_C, norm)[0]


def _forward(x: jax.Array, bias: jax.Array, norm: LRN) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    x = x + bias  # XLA fuses this with the convolution
    tiles, inverse, axis = _in_tiles(x)
    block, tile, grid = _blocks(tiles, axis)
    height, width = (size // 2 for size in tiles.shape[:2])
    of_windows = block(1, width, lambda i: jnp.maximum(i - 1, 0))
    pooled, positions = pl.pallas_call(
        functools.partial(_forward_kernel, norm=norm, axis=axis),
        grid=grid,
        in_specs=[block(2, tiles.shape[1], lambda i: i)],
        out_specs=[of_windows, of_windows],
        out_shape=[_like(tiles, height, width, dtype) for dtype in (x.dtype, jnp.int8)],
        scratch_shapes=[pltpu.VMEM((width, *tile), jnp.float32)] * 2,
        cost_estimate=_cost(tiles, operations=30, full=1),
    )(tiles)
    return pooled.transpose(inverse), (x, positions)


def _backward(norm: LRN, saved: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array, jax.Array]:
    tiles, inverse, axis = _in_tiles(saved[0])
    g, _, _ = _in_tiles(g)
    block, tile, grid = _blocks(tiles, axis)
    height, width = g.shape[:2]
    of_two_rows = block(2, tiles.shape[1], lambda i: i)
    of_windows = block(1, width, lambda i: jnp.minimum(i, height - 1))
    by_x, sums = pl.pallas_call(
        functools.partial(_backward_kernel, height=tiles.shape[0], norm=norm, axis=axis),
        grid=grid,
        in_specs=[of_two_rows, of_windows, of_windows],
        out_specs=[of_two_rows, block(1, 1, lambda i: 0)],
        out_shape=[
            _like(tiles, tiles.shape[0], tiles.shape[1], tiles.dtype),
            _like(tiles, 1, 1, jnp.float32),
        ],
        scratch_shapes=[pltpu.VMEM((width, *tile), jnp.float32)] * 2,
        cost_estimate=_cost(tiles, operations=60, full=2),
    )(tiles, saved[1], g)
    return by_x.transpose(inverse), jnp.sum(sums, axis=(0, 1, 3 - axis)).astype(tiles.dtype)


relu_lrn_max_pool.defvjp(_forward, _backward)

Best: TypeAlias = tuple[jax.Array, jax.Array]
"""The maximum of some positions of a window, and its position: 3 row + column, in float32."""


def _forward_kernel(
    x_ref: Any, pooled_ref: Any, positions_ref: Any, best_ref: Any, position_ref: Any, *, norm: LRN, axis: int
) -> None:
    """Process two rows. Windows of the rows above end in the first row; other windows begin with it.

    Args:
      x_ref: the two rows.
      pooled_ref: maxima of the windows that end.
      positions_ref: positions of these maxima.
      best_ref: maxima so far of the windows that begin, kept from one call to the next.
      position_ref: positions of these maxima.
      norm: window and constants of the LRN.
      axis: axis of a tile along which the channels lie.
    """

    def normalized(row: int, column: Any) -> jax.Array:
        x, _, scale = _relu_and_scale(x_ref[row, column], norm, axis)
        return x * scale

    def best_of(column: Any) -> tuple[Best, Best]:
        """Return the maxima of a column's two rows: for windows that end here, and for windows that begin."""
        first, second = normalized(0, column), normalized(1, column)
        return (first, jnp.full_like(first, 6)), _better((first, jnp.zeros_like(first)), (second, 3))

    def window(j: Any, left: tuple[Best, Best]) -> tuple[Best, Best]:
        middle, right = best_of(2 * j + 1), best_of(2 * j + 2)
        ending, beginning = (
            functools.reduce(
                _better, [(best, position + column) for column, (best, position) in enumerate(columns)]
            )
            for columns in zip(left, middle, right, strict=True)
        )
        best, position = _better((best_ref[j], position_ref[j]), ending)
        pooled_ref[0, j] = best.astype(pooled_ref.dtype)
        positions_ref[0, j] = position.astype(positions_ref.dtype)
        best_ref[j], position_ref[j] = beginning
        return right

    lax.fori_loop(0, pooled_ref.shape[1], window, best_of(0))


def _better(a: Best, b: tuple[jax.Array, Any]) -> Best:
    """Return the larger one; of equals, the first. NaN is larger than all numbers."""
    # Comparisons with NaN are false here, even !=. So NaN replaces a number, and no number replaces NaN.
    larger = (a[0] == a[0]) & ~(b[0] <= a[0])
    return jnp.where(larger, b[0], a[0]), jnp.where(larger, b[1], a[1])


Window: TypeAlias = tuple[jax.Array, jax.Array]
"""The position of the maximum, and its gradient."""


def _backward_kernel(
    x_ref: Any,
    positions_ref: Any,
    g_ref: Any,
    by_x_ref: Any,
    sums_ref: Any,
    above_ref: Any,
    g_above_ref: Any,
    *,
    height: int,
    norm: LRN,
    axis: int,
) -> None:
    """Process two rows, as the forward kernel does, and the row of windows that begin with them.

    Args:
      x_ref: the two rows.
      positions_ref: positions of the windows' maxima.
      g_ref: gradients of the maxima.
      by_x_ref: gradients with respect to the two rows.
      sums_ref: sums of these gradients over all positions.
      above_ref: positions_ref of the previous call: these windows end with the first row.
      g_above_ref: g_ref of the previous call.
      height: number of rows.
      norm: window and constants of the LRN.
      axis: axis of a tile along which the channels lie.
    """
    i, windows = pl.program_id(1), g_ref.shape[1]
    zeros = jnp.zeros(x_ref.shape[2:], jnp.float32)
    nowhere = zeros - 1

    @pl.when(i == 0)
    def _() -> None:
        above_ref[...] = jnp.full_like(above_ref, -1)
        sums_ref[...] = jnp.zeros_like(sums_ref)

    def windows_of(j: Any) -> tuple[Window, Window]:
        """Return the window of a column that ends in the first row, and the one that begins there."""
        ending = above_ref[j], g_above_ref[j]
        # No window begins with the last row.
        position = jnp.where(i < pl.num_programs(1) - 1, positions_ref[0, j].astype(jnp.float32), nowhere)
        beginning = position, g_ref[0, j].astype(jnp.float32)
        above_ref[j], g_above_ref[j] = beginning
        return ending, beginning

    def column_of(column: Any, *around: tuple[int, tuple[Window, Window]]) -> None:
        """Compute the gradients of a column of both rows, which is column n of each window around it."""
        g_first = g_second = zeros
        for n, ((ends, g_ending), (begins, g_beginning)) in around:
            g_first += jnp.where(ends == 6 + n, g_ending, 0) + jnp.where(begins == n, g_beginning, 0)
            g_second += jnp.where(begins == 3 + n, g_beginning, 0)
        for row, g in ((0, g_first), (1, g_second)):
            x, base, scale = _relu_and_scale(x_ref[row, column], norm, axis)
            spread = _window_sums(g * x * scale / base, norm.reach[::-1], axis)
            by_x = g * scale - 2 * norm.alpha_each * norm.beta * x * spread
            by_x = jnp.where((x > 0) & (2 * i + row < height), by_x, 0)
            by_x_ref[row, column] = by_x.astype(by_x_ref.dtype)
            sums_ref[0, 0] += by_x

    def window(j: Any, before: tuple[Window, Window]) -> tuple[Window, Window]:
        here = windows_of(j)
        column_of(2 * j, (2, before), (0, here))
        column_of(2 * j + 1, (1, here))
        return here

    last = lax.fori_loop(0, windows, window, ((nowhere, zeros),) * 2)
    column_of(2 * windows, (2, last))


def _relu_and_scale(x: jax.Array, norm: LRN, axis: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return ReLU of a tile in float32, the base of its LRN, and base^-beta."""
    x = jnp.maximum(x.astype(jnp.float32), 0)
    base = norm.k + norm.alpha_each * _window_sums(x * x, norm.reach, axis)
    return x, base, negative_power(base, norm.beta)


def _window_sums(x: jax.Array, reach: tuple[int, int], axis: int) -> jax.Array:
    """Sum each channel and its neighbours, ``reach`` before and after it."""
    channels = x.shape[axis]
    position = lax.broadcasted_iota(jnp.int32, x.shape, axis)
    sums = x
    for distance in range(1, reach[0] + 1):
        sums += jnp.where(position >= distance, pltpu.roll(x, distance, axis), 0)
    for distance in range(1, reach[1] + 1):
        sums += jnp.where(position < channels - distance, pltpu.roll(x, channels - distance, axis), 0)
    return sums


def _in_tiles(x_BxHxWxC: jax.Array) -> tuple[jax.Array, Sequence[int], int]:
    """Return x in XLA's layout, the inverse permutation, and the axis of a tile along which the channels lie.

    Rows and columns come first. The lanes hold channels if these fill them, otherwise images.
    """
    if x_BxHxWxC.shape[-1] % LANES == 0:
        return x_BxHxWxC.transpose(1, 2, 0, 3), (2, 0, 1, 3), 1
    return x_BxHxWxC.transpose(1, 2, 3, 0), (3, 0, 1, 2), 0


def _blocks(
    tiles: jax.Array, axis: int
) -> tuple[Callable[..., pl.BlockSpec], tuple[int, int], tuple[int, int]]:
    """Return a function that makes block specs, the shape of a tile, and the grid (images, pairs of rows)."""
    channels, images = tiles.shape[2 + axis], tiles.shape[3 - axis]
    together = images_in_a_tile(channels)
    tile = (together, channels) if axis else (channels, together)

    def block(rows: int, columns: int, row: Callable[[Any], Any]) -> pl.BlockSpec:
        def index(images: Any, i: Any) -> tuple[Any, ...]:
            return row(i), 0, *((images, 0) if axis else (0, images))

        return pl.BlockSpec((rows, columns, *tile), index)

    return block, tile, (images // tile[1 - axis], -(-tiles.shape[0] // 2))


def _like(tiles: jax.Array, rows: int, columns: int, dtype: jax.typing.DTypeLike) -> jax.ShapeDtypeStruct:
    """Return the type of an array of rows x columns such tiles, which varies over the same mesh axes."""
    shape = rows, columns, *tiles.shape[2:]
    return jax.ShapeDtypeStruct(shape, dtype, manual_axis_type=jax.typeof(tiles).manual_axis_type)


def _cost(tiles: jax.Array, operations: int, full: int) -> pl.CostEstimate:
    """Estimate the cost of a kernel for the compiler.

    Args:
      tiles: x.
      operations: number of operations on each element.
      full: number of arrays of x's size that are read or written. The kernel also reads or writes the maxima
        or their gradients, a quarter of this size, and as many positions of one byte.
    """
    size_bytes = tiles.size * tiles.dtype.itemsize
    return pl.CostEstimate(
        flops=operations * tiles.size,
        transcendentals=2 * tiles.size,
        bytes_accessed=full * size_bytes + (size_bytes + tiles.size) // 4,
    )
