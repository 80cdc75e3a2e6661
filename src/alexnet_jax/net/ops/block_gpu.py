"""GPU kernels, in Triton, for ReLU, LRN and max pooling. `block` defines the operation and chooses them.

Memory bandwidth limits these operations on a GPU. XLA writes the squares, their sums, the normalized channels
and the gradients of each, and adds the gradients of a pool with atomic operations. These kernels write only
the normalized channels, the maxima and the gradient of x.

In the kernels, a tile is positions x channels. Triton needs powers of two, so tiles extend beyond the edges.
"""

import functools
import types
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import jax_triton
import triton
import triton.language as tl
from jax import lax

from alexnet_jax.layers import LRN
from alexnet_jax.runtime import jax_compat

TILE_BYTES = 8192
"""Size of the tiles of `_tile`: 32 elements of bfloat16, or 16 of float32, for each of 128 threads."""

PRECISION: tl.constexpr = tl.constexpr("tf32x3")
"""Precision of float32 products: three products in TF32 are nearly as precise as one in float32."""

OPTIONS = {
    "enable_fp_fusion": True,  # Triton 3.10 changes the default
    "ptx_version": 88,  # of CUDA 12.9; the default is that of Triton's assembler, and XLA's may be older
}
"""Options of Triton's compiler."""

# jax-triton raises no error for a Triton that it does not support. It replaces the compiler by a stub.
if isinstance(getattr(jax_triton.triton_lib, "cb", None), types.SimpleNamespace):
    raise ImportError(f"jax-triton {jax_triton.__version__} needs another Triton than {triton.__version__}")

jax_compat.use_default_dce_rule(jax_triton.triton_lib.triton_kernel_call_p)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def relu_lrn_max_pool(x_BxHxWxC: jax.Array, bias_C: jax.Array, norm: LRN | None) -> jax.Array:
    """Apply ReLU, LRN (unless None) and max pooling (windows of 3x3, stride 2) to x + bias.

    For the gradient, only x and the positions of the maxima are kept. The rest is recomputed.

    Args:
      x_BxHxWxC: a convolution without its bias, of a size that `block_tiles.fits_gpu` accepts.
      bias_C: bias of each channel, of the same type.
      norm: window and constants of the LRN.

    Returns:
      maxima of the windows that lie inside the image: batch, (H - 1) // 2, (W - 1) // 2, channels.
    """
    return _forward(x_BxHxWxC, bias_C, norm)[0]


def _forward(
    x: jax.Array, bias: jax.Array, norm: LRN | None
) -> tuple[jax.Array, tuple[jax.Array, jax.Array, jax.Array]]:
    batch, height, width, channels = x.shape
    y = x
    if norm is not None:
        tile = _tile(x)
        (y,) = _call(
            _normalize_kernel,
            (x, bias),
            [jax.ShapeDtypeStruct(x.shape, x.dtype)],
            (triton.cdiv(batch * height * width, tile["tile_positions"]),),
            positions=batch * height * width,
            channels=channels,
            **tile,
            **_constants(norm),
        )
    pooled = jax.ShapeDtypeStruct((batch, (height - 1) // 2, (width - 1) // 2, channels), x.dtype)
    maxima, positions = _call(
        _pool_kernel,
        (y, bias),
        [pooled, jax.ShapeDtypeStruct(pooled.shape, jnp.int8)],
        (batch * pooled.shape[1],),
        relus=norm is None,
        height=height,
        width=width,
        channels=channels,
        tile_columns=triton.next_power_of_2(pooled.shape[2]),
        tile_channels=triton.next_power_of_2(channels),
    )
    return maxima, (x, bias, positions)


def _backward(
    norm: LRN | None, saved: tuple[jax.Array, jax.Array, jax.Array], g: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, bias, positions = saved
    batch, height, width, channels = x.shape
    tile = _tile(x)
    tiles = triton.cdiv(height * width, tile["tile_positions"])
    by_x, sums = _call(
        _gradient_kernel,
        (x, bias, positions, g),
        [
            jax.ShapeDtypeStruct(x.shape, x.dtype),
            jax.ShapeDtypeStruct((batch, tiles, channels), jnp.float32),
        ],
        (batch, tiles),
        height=height,
        width=width,
        channels=channels,
        normalizes=norm is not None,
        **tile,
        **_constants(norm),
    )
    return by_x, jnp.sum(sums, axis=(0, 1)).astype(bias.dtype)


relu_lrn_max_pool.defvjp(_forward, _backward)


@triton.jit
def _normalize_kernel(
    x_ptr,
    bias_ptr,
    y_ptr,
    positions: tl.constexpr,
    channels: tl.constexpr,
    tile_positions: tl.constexpr,
    tile_channels: tl.constexpr,
    before: tl.constexpr,
    after: tl.constexpr,
    k: tl.constexpr,
    alpha: tl.constexpr,
    beta: tl.constexpr,
):
    """Apply ReLU and LRN at a tile of the positions of all images."""
    first = tl.program_id(0).to(tl.int64) * tile_positions  # a batch may have more than 2^31 elements
    at = tl.arange(0, tile_positions)[:, None]
    c = tl.arange(0, tile_channels)[None, :]
    inside = (at < positions - first) & (c < channels)
    element = at * channels + c
    x = tl.load(x_ptr + first * channels + element, inside, 0)
    y = _relu(x, tl.load(bias_ptr + c, c < channels, 0))
    sums = _window_sums(y * y, before, after, tile_channels, x.dtype)
    y *= _negative_power(k + alpha * sums, beta)
    tl.store(y_ptr + first * channels + element, y.to(x.dtype), inside)


@triton.jit
def _pool_kernel(
    y_ptr,
    bias_ptr,
    maxima_ptr,
    positions_ptr,
    relus: tl.constexpr,
    height: tl.constexpr,
    width: tl.constexpr,
    channels: tl.constexpr,
    tile_columns: tl.constexpr,
    tile_channels: tl.constexpr,
):
    """Find the maxima of a row of windows of one image, and their positions: 3 row + column.

    With ``relus``, first apply ReLU to y + bias. Of equal elements, the first is the maximum. NaN exceeds
    all numbers.
    """
    rows: tl.constexpr = (height - 1) // 2
    columns: tl.constexpr = (width - 1) // 2
    image, row = (tl.program_id(0) // rows).to(tl.int64), tl.program_id(0) % rows
    column = tl.arange(0, tile_columns)[:, None]
    c = tl.arange(0, tile_channels)[None, :]
    inside = (column < columns) & (c < channels)
    y_ptr += (image * height + 2 * row) * width * channels
    best = tl.full((tile_columns, tile_channels), float("-inf"), tl.float32)
    best_at = tl.zeros((tile_columns, tile_channels), tl.int32)
    for at in tl.static_range(9):
        element = ((at // 3) * width + 2 * column + at % 3) * channels + c
        y = tl.load(y_ptr + element, inside, 0)
        if relus:
            y = _relu(y, tl.load(bias_ptr + c, c < channels, 0))
        y = y.to(tl.float32)
        better = (y > best) | (y != y)
        best = tl.where(better, y, best)
        best_at = tl.where(better, at, best_at)
    first = (image * rows + row) * columns * channels
    element = column * channels + c
    tl.store(maxima_ptr + first + element, best.to(y_ptr.dtype.element_ty), inside)
    tl.store(positions_ptr + first + element, best_at.to(tl.int8), inside)


@triton.jit
def _gradient_kernel(
    x_ptr,
    bias_ptr,
    positions_ptr,
    g_ptr,
    by_x_ptr,
    sums_ptr,
    height: tl.constexpr,
    width: tl.constexpr,
    channels: tl.constexpr,
    tile_positions: tl.constexpr,
    tile_channels: tl.constexpr,
    normalizes: tl.constexpr,
    before: tl.constexpr,
    after: tl.constexpr,
    k: tl.constexpr,
    alpha: tl.constexpr,
    beta: tl.constexpr,
):
    """Compute the gradient at a tile of positions of one image, and its sums over these positions."""
    rows: tl.constexpr = (height - 1) // 2
    columns: tl.constexpr = (width - 1) // 2
    image = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * tile_positions + tl.arange(0, tile_positions)[:, None]
    row, column = at // width, at % width
    c = tl.arange(0, tile_channels)[None, :]
    inside = (at < height * width) & (c < channels)
    positions_ptr += image * rows * columns * channels
    g_ptr += image * rows * columns * channels
    g = tl.zeros((tile_positions, tile_channels), tl.float32)
    for i in tl.static_range(2):  # a position lies in one or two rows of windows, and in one or two columns
        for j in tl.static_range(2):
            above, left = row // 2 - i, column // 2 - j
            position = 3 * (row - 2 * above) + column - 2 * left
            within = (above >= 0) & (above < rows) & (row - 2 * above < 3)
            within = within & (left >= 0) & (left < columns) & (column - 2 * left < 3) & inside
            element = (above * columns + left) * channels + c
            wins = tl.load(positions_ptr + element, within, -1) == position
            g += tl.where(wins, tl.load(g_ptr + element, within, 0).to(tl.float32), 0)
    element = at * channels + c
    x = tl.load(x_ptr + image * height * width * channels + element, inside, 0)
    y = _relu(x, tl.load(bias_ptr + c, c < channels, 0))
    by_x = g
    if normalizes:
        base = k + alpha * _window_sums(y * y, before, after, tile_channels, x.dtype)
        scaled = g * _negative_power(base, beta)
        # The windows are reversed: from each sum back to the channels whose squares it contains.
        spread = _window_sums(scaled * y / base, after, before, tile_channels, x.dtype)
        by_x = scaled - 2 * alpha * beta * y * spread
    by_x = tl.where(inside & (y != 0), by_x, 0)
    tl.store(by_x_ptr + image * height * width * channels + element, by_x.to(x.dtype), inside)
    tile = image * tl.num_programs(1) + tl.program_id(1)
    tl.store(sums_ptr + tile * channels + c, tl.sum(by_x, 0, keep_dims=True), c < channels)


@triton.jit
def _relu(x, bias):
    """Return ReLU of x + bias, rounded to x's type, in float32."""
    y = tl.maximum(x.to(tl.float32) + bias.to(tl.float32), 0, propagate_nan=tl.PropagateNan.ALL)
    return y.to(x.dtype).to(tl.float32)


@triton.jit
def _window_sums(x, before: tl.constexpr, after: tl.constexpr, size: tl.constexpr, dtype: tl.constexpr):
    """Sum each channel and its neighbours in float32, by a product with a band matrix: fast on a GPU."""
    distance = tl.arange(0, size)[:, None] - tl.arange(0, size)[None, :]
    band = (distance >= -before) & (distance <= after)
    return tl.dot(x.to(dtype), band.to(dtype), input_precision=PRECISION)


@triton.jit
def _negative_power(x, beta: tl.constexpr):
    """Compute x^-beta for x > 0."""
    if beta == 0.75:
        root = tl.rsqrt(x)
        return root * tl.sqrt(root)
    return tl.exp2(-beta * tl.log2(x))


def _tile(x: jax.Array) -> dict[str, int]:
    """Return the size of a tile with all channels of some positions, as arguments of a kernel."""
    channels = max(triton.next_power_of_2(x.shape[-1]), 16)  # a product needs at least 16
    positions = max(TILE_BYTES // x.dtype.itemsize // channels, 16)
    return {"tile_positions": positions, "tile_channels": channels}


def _constants(norm: LRN | None) -> dict[str, float]:
    """Return the window and the constants of the LRN, as arguments of a kernel."""
    if norm is None:
        return dict.fromkeys(("before", "after", "k", "alpha", "beta"), 0)
    before, after = norm.reach
    return {"before": before, "after": after, "k": norm.k, "alpha": norm.alpha_each, "beta": norm.beta}


def _call(
    kernel: Any,
    arguments: Sequence[jax.Array],
    results: Sequence[jax.ShapeDtypeStruct],
    grid: tuple[int, ...],
    **constants: Any,
) -> list[jax.Array]:
    """Run a kernel. Declare that its results vary over the same mesh axes as its first argument."""
    found = jax_triton.triton_call(
        *arguments,
        kernel=kernel,
        out_type=list(results),
        grid=grid,
        name=kernel.__name__,
        backend_options=OPTIONS,
        **constants,
    )
    axes = tuple(jax.typeof(arguments[0]).manual_axis_type.varying)
    return [lax.pcast(result, axes, to="varying") for result in found] if axes else found
