"""A TPU's kernel for ReLU, LRN and max pooling, which ``ops`` chooses; it has the definition.

Memory bounds a TPU. XLA writes what ReLU and LRN make and reads it again, several times as much as the pool
leaves of it; here each array comes and goes once. Written in Pallas: see "Pallas" in JAX's documentation.
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
from alexnet_jax.net.ops.lrn import negative_power
from alexnet_jax.net.ops.tpu import LANES, images_in_a_tile


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def relu_lrn_max_pool(x_BxHxWxC: jax.Array, bias_C: jax.Array, norm: LRN) -> jax.Array:
    """What ReLU, LRN and pooling by windows of 3x3 with a stride of 2 make of x + bias, if `tpu.fits`.

    For the gradient x + bias is kept, and where the maxima were; the rest is computed again.
    """
    return _forward(x_BxHxWxC, bias_C, norm)[0]


def _forward(x: jax.Array, bias: jax.Array, norm: LRN) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    x = x + bias  # which is part of XLA's convolution
    tiles, inverse, axis = _in_tiles(x)
    block, tile, grid = _blocks(tiles, axis)
    height, width = (size // 2 for size in tiles.shape[:2])
    of_windows = block(1, width, lambda i: jnp.maximum(i - 1, 0))
    pooled, places = pl.pallas_call(
        functools.partial(_forward_kernel, norm=norm, axis=axis),
        grid=grid,
        in_specs=[block(2, tiles.shape[1], lambda i: i)],
        out_specs=[of_windows, of_windows],
        out_shape=[_like(tiles, height, width, dtype) for dtype in (x.dtype, jnp.int8)],
        scratch_shapes=[pltpu.VMEM((width, *tile), jnp.float32)] * 2,
        cost_estimate=_cost(tiles, operations=30, full=1),
    )(tiles)
    return pooled.transpose(inverse), (x, places)


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
"""The maximum of some places of a window, and which it is: 3 row + column, in float32."""


def _forward_kernel(
    x_ref: Any, pooled_ref: Any, places_ref: Any, best_ref: Any, place_ref: Any, *, norm: LRN, axis: int
) -> None:
    """Two rows of places: windows of the rows before end in the first of them, others begin with it.

    Args:
      x_ref: the two rows.
      pooled_ref: the maxima of the windows that end.
      places_ref: where they were.
      best_ref: the best of the windows that begin, kept from one call to the next.
      place_ref: where they were.
      norm: what to do.
      axis: of a tile, along which the maps lie.
    """

    def normalized(row: int, column: Any) -> jax.Array:
        x, _, scale = _relu_and_scale(x_ref[row, column], norm, axis)
        return x * scale

    def best_of(column: Any) -> tuple[Best, Best]:
        """Of a column's two rows: for windows that end here, and for windows that begin."""
        first, second = normalized(0, column), normalized(1, column)
        return (first, jnp.full_like(first, 6)), _better((first, jnp.zeros_like(first)), (second, 3))

    def window(j: Any, left: tuple[Best, Best]) -> tuple[Best, Best]:
        middle, right = best_of(2 * j + 1), best_of(2 * j + 2)
        ending, beginning = (
            functools.reduce(
                _better, [(best, place + column) for column, (best, place) in enumerate(columns)]
            )
            for columns in zip(left, middle, right, strict=True)
        )
        best, place = _better((best_ref[j], place_ref[j]), ending)
        pooled_ref[0, j], places_ref[0, j] = best.astype(pooled_ref.dtype), place.astype(places_ref.dtype)
        best_ref[j], place_ref[j] = beginning
        return right

    lax.fori_loop(0, pooled_ref.shape[1], window, best_of(0))


def _better(a: Best, b: tuple[jax.Array, Any]) -> Best:
    """The larger one; of equals the first. NaN is larger than all."""
    # Comparisons with NaN are false here, != too: it takes a place that has none, and keeps it.
    larger = (a[0] == a[0]) & ~(b[0] <= a[0])
    return jnp.where(larger, b[0], a[0]), jnp.where(larger, b[1], a[1])


Window: TypeAlias = tuple[jax.Array, jax.Array]
"""Where the maximum was; its gradient."""


def _backward_kernel(
    x_ref: Any,
    places_ref: Any,
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
    """Two rows of places, as in the forward kernel, and the row of windows that begin with them.

    Args:
      x_ref: the two rows.
      places_ref: where the maxima of the windows are.
      g_ref: their gradients.
      by_x_ref: the gradients by the two rows.
      sums_ref: their sums over all places.
      above_ref: places_ref of the call before: these windows end with the first row.
      g_above_ref: g_ref of the call before.
      height: how many rows there are.
      norm: what to do.
      axis: of a tile, along which the maps lie.
    """
    i, windows = pl.program_id(1), g_ref.shape[1]
    zeros = jnp.zeros(x_ref.shape[2:], jnp.float32)
    nowhere = zeros - 1

    @pl.when(i == 0)
    def _() -> None:
        above_ref[...] = jnp.full_like(above_ref, -1)
        sums_ref[...] = jnp.zeros_like(sums_ref)

    def windows_of(j: Any) -> tuple[Window, Window]:
        """Those that end in the first row, in a column of windows, and those that begin there."""
        ending = above_ref[j], g_above_ref[j]
        # With the last row none begin.
        place = jnp.where(i < pl.num_programs(1) - 1, places_ref[0, j].astype(jnp.float32), nowhere)
        beginning = place, g_ref[0, j].astype(jnp.float32)
        above_ref[j], g_above_ref[j] = beginning
        return ending, beginning

    def column_of(column: Any, *around: tuple[int, tuple[Window, Window]]) -> None:
        """The gradients by a column of both rows; around it are windows, whose n-th column it is."""
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
    """What ReLU makes of a tile, in float32, LRN's base for it, and base^-beta."""
    x = jnp.maximum(x.astype(jnp.float32), 0)
    base = norm.k + norm.alpha_each * _window_sums(x * x, norm.reach, axis)
    return x, base, negative_power(base, norm.beta)


def _window_sums(x: jax.Array, reach: tuple[int, int], axis: int) -> jax.Array:
    """Of each map and so many before and after it."""
    maps = x.shape[axis]
    place = lax.broadcasted_iota(jnp.int32, x.shape, axis)
    sums = x
    for distance in range(1, reach[0] + 1):
        sums += jnp.where(place >= distance, pltpu.roll(x, distance, axis), 0)
    for distance in range(1, reach[1] + 1):
        sums += jnp.where(place < maps - distance, pltpu.roll(x, maps - distance, axis), 0)
    return sums


def _in_tiles(x_BxHxWxC: jax.Array) -> tuple[jax.Array, Sequence[int], int]:
    """X as XLA lays a convolution's maps, rows and columns first; the way back; the maps' axis in a tile.

    The lanes are maps if these fill them, or else images.
    """
    if x_BxHxWxC.shape[-1] % LANES == 0:
        return x_BxHxWxC.transpose(1, 2, 0, 3), (2, 0, 1, 3), 1
    return x_BxHxWxC.transpose(1, 2, 3, 0), (3, 0, 1, 2), 0


def _blocks(
    tiles: jax.Array, axis: int
) -> tuple[Callable[..., pl.BlockSpec], tuple[int, int], tuple[int, int]]:
    """Makes a block of rows, columns and a tile; a tile's shape; how many of images, of two rows."""
    maps, images = tiles.shape[2 + axis], tiles.shape[3 - axis]
    tile = (images_in_a_tile(maps), maps) if axis else (maps, images_in_a_tile(maps))

    def block(rows: int, columns: int, row: Callable[[Any], Any]) -> pl.BlockSpec:
        def place(images: Any, i: Any) -> tuple[Any, ...]:
            return row(i), 0, *((images, 0) if axis else (0, images))

        return pl.BlockSpec((rows, columns, *tile), place)

    return block, tile, (images // tile[1 - axis], -(-tiles.shape[0] // 2))


def _like(tiles: jax.Array, rows: int, columns: int, dtype: jax.typing.DTypeLike) -> jax.ShapeDtypeStruct:
    """An array of as many tiles for each place, which varies over the same mesh axes."""
    shape = rows, columns, *tiles.shape[2:]
    return jax.ShapeDtypeStruct(shape, dtype, manual_axis_type=jax.typeof(tiles).manual_axis_type)


def _cost(tiles: jax.Array, operations: int, full: int) -> pl.CostEstimate:
    """For the compiler's count: operations on each number, arrays of x's size that come or go.

    With them come or go as many of the pool's size, a quarter, and the places in bytes.
    """
    numbers = tiles.size * tiles.dtype.itemsize
    return pl.CostEstimate(
        flops=operations * tiles.size,
        transcendentals=2 * tiles.size,
        bytes_accessed=full * numbers + (numbers + tiles.size) // 4,
    )
