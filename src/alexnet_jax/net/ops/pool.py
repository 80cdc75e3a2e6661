"""Ways that are quick under XLA's CPU compiler; ``ops`` has the definitions, and chooses when it is lowered.

On a CPU an operation that reads a few images at a time finds them in the cache, and one that puts its
results side by side is vectorized where one that scatters them is not.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax

from alexnet_jax.net.ops import conv_products as products
from alexnet_jax.net.ops.fusion import apart

IMAGES = 4
"""How many images `kernel_gradient` takes at a time, at most."""
FEW = 8
"""Of how many maps `conv` takes a row as one."""
_NHWC = ("NHWC", "HWIO", "NHWC")


def conv(x_BxHxWxI: jax.Array, kernel_HxWxIxO: jax.Array, stride: int, padding: tuple[int, int]) -> jax.Array:
    """A convolution; over few maps, those of an image, it takes them for more columns.

    So the numbers that are multiplied together are a row of the kernel, not the three of a place: with three,
    XLA's convolution into 17 to 39 maps is some ten times slower (docs/performance.md). In bfloat16, with a
    stride of 1 over more maps, it is `products`.
    """
    if _by_products(x_BxHxWxI, stride):
        return products.conv(x_BxHxWxI, kernel_HxWxIxO, padding)
    maps, size = x_BxHxWxI.shape[-1], kernel_HxWxIxO.shape
    strides, around = (stride, stride), (padding, padding)
    if maps < FEW:
        x_BxHxWxI = x_BxHxWxI.reshape(*x_BxHxWxI.shape[:2], -1, 1)
        kernel_HxWxIxO = kernel_HxWxIxO.reshape(size[0], -1, 1, size[-1])
        strides = (stride, stride * maps)
        around = (padding, (padding[0] * maps, padding[1] * maps))
    return lax.conv_general_dilated(x_BxHxWxI, kernel_HxWxIxO, strides, around, dimension_numbers=_NHWC)


def input_gradient(
    x_BxHxWxI: jax.Array,
    kernel_HxWxIxO: jax.Array,
    g_BxPxQxO: jax.Array,
    stride: int,
    padding: tuple[int, int],
) -> jax.Array:
    """The gradient of a convolution by x, given that of its output."""
    if _by_products(x_BxHxWxI, stride):
        return products.input_gradient(g_BxPxQxO, kernel_HxWxIxO, padding)
    transposed = jax.linear_transpose(lambda x: conv(x, kernel_HxWxIxO, stride, padding), x_BxHxWxI)
    (by_x_BxHxWxI,) = transposed(g_BxPxQxO)
    return by_x_BxHxWxI


def kernel_gradient(
    x_BxHxWxI: jax.Array, g_BxPxQxO: jax.Array, size: Sequence[int], stride: int, padding: tuple[int, int]
) -> jax.Array:
    """The gradient of a convolution by its kernel, ``(*size, I, O)``, given that of its output.

    It is a convolution too, in which images and maps have changed places; a few images at a time.
    """
    if _by_products(x_BxHxWxI, stride):
        return products.kernel_gradient(x_BxHxWxI, g_BxPxQxO, size, padding)

    def gradient(x_BxHxWxI: jax.Array, g_BxPxQxO: jax.Array) -> jax.Array:
        by_kernel_IxHxWxO = lax.conv_general_dilated(
            x_BxHxWxI.transpose(3, 1, 2, 0),
            g_BxPxQxO.transpose(1, 2, 0, 3),
            (1, 1),
            (padding, padding),
            rhs_dilation=(stride, stride),
            dimension_numbers=_NHWC,
            preferred_element_type=jnp.float32,
        )
        # Where the last stride does not fit, there are places behind the kernel's.
        return by_kernel_IxHxWxO.transpose(1, 2, 0, 3)[: size[0], : size[1]]

    chunks = [products.few_at_a_time(x, IMAGES) for x in (x_BxHxWxI, g_BxPxQxO)]
    first = jax.eval_shape(gradient, *(x[0] for x in chunks))
    # Made from g, so that it varies over the same mesh axes.
    zeros = jnp.full_like(g_BxPxQxO, 0, first.dtype, shape=first.shape)
    sums, _ = lax.scan(lambda sums, chunk: (sums + gradient(*chunk), None), zeros, chunks)
    return sums.astype(x_BxHxWxI.dtype)


def _by_products(x_BxHxWxI: jax.Array, stride: int) -> bool:
    return x_BxHxWxI.dtype == jnp.bfloat16 and stride == 1 and x_BxHxWxI.shape[-1] >= FEW


def window_sums(x: jax.Array, reach: tuple[int, int], first: int, maps: int) -> jax.Array:
    """For so many maps, counted from the first, the sum of those from ``reach`` before to after it, float32.

    All in one pass: LRN is bound by memory here, and a product with a matrix would be three.
    """
    before, after = reach
    # Beyond the first map and the last, or cut off.
    around = (before - first, first + maps + after - x.shape[-1], 0)
    x = lax.pad(x.astype(jnp.float32), jnp.float32(0), [(0, 0, 0)] * (x.ndim - 1) + [around])
    return functools.reduce(
        jnp.add, [lax.slice_in_dim(x, i, i + maps, axis=-1) for i in range(before + 1 + after)]
    )


def max_pool(x: jax.Array, window: int, stride: int, padding: Sequence[tuple[int, int]]) -> jax.Array:
    """The maximum over each window of B x H x W x C: along the columns, then along the rows."""
    return _apart_if_dear(x, lambda x: _maxima(x, window, stride, padding)[-1])(x)


def max_pool_gradient(
    x: jax.Array, g: jax.Array, window: int, stride: int, padding: Sequence[tuple[int, int]]
) -> jax.Array:
    """The gradient of `max_pool` by x, given that of its output: of equals in a window one has it."""
    pool = functools.partial(_max_pool_gradient, window=window, stride=stride, padding=padding)
    return _apart_if_dear(x, pool)(x, g)


def _apart_if_dear(x: jax.Array, function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """To work numbers out anew, as fusing does, is dear in bfloat16; in float32 cheaper than to keep them."""
    return apart(function) if x.dtype == jnp.bfloat16 else function


def _max_pool_gradient(
    x: jax.Array, g: jax.Array, window: int, stride: int, padding: Sequence[tuple[int, int]]
) -> jax.Array:
    x, along_columns, along_both = _maxima(x, window, stride, padding)
    g = _to_places(along_columns, along_both, g, 2, window, stride)
    g = _to_places(x, along_columns, g, 1, window, stride)
    (top, bottom), (left, right) = padding
    return g[:, top : g.shape[1] - bottom, left : g.shape[2] - right]


def _maxima(
    x: jax.Array, window: int, stride: int, padding: Sequence[tuple[int, int]]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The padded x, the maxima along its columns, and of those the maxima along the rows."""
    x = lax.pad(x, jnp.asarray(-jnp.inf, x.dtype), [(0, 0, 0), *((*p, 0) for p in padding), (0, 0, 0)])
    columns = functools.reduce(jnp.maximum, _places(x, 1, window, stride))
    return x, columns, functools.reduce(jnp.maximum, _places(columns, 2, window, stride))


def _places(x: jax.Array, axis: int, window: int, stride: int) -> list[jax.Array]:
    """The first place of every window along an axis, the second one, and so on."""
    last = (x.shape[axis] - window) // stride * stride
    return [lax.slice_in_dim(x, i, i + last + 1, stride, axis) for i in range(window)]


def _to_places(
    x: jax.Array, maxima: jax.Array, g: jax.Array, axis: int, window: int, stride: int
) -> jax.Array:
    """The gradient by x of the maxima along an axis.

    Places at the same distance from a multiple of the stride make an array, and these are put side by side:
    each array of them is dense, where one for each place of the window would be scattered.
    """
    windows, later = maxima.shape[axis], (window - 1) // stride
    by_phase: list[jax.Array | None] = [None] * stride
    free = jnp.ones(maxima.shape, bool)
    chosen = _apart_if_dear(g, lambda wins, g: jnp.where(wins, g, 0))
    for i, place in enumerate(_places(x, axis, window, stride)):
        wins = free & (place == maxima)
        free &= ~wins
        config = [(0, 0, 0)] * x.ndim
        config[axis] = (i // stride, later - i // stride, 0)
        part = lax.pad(chosen(wins, g), jnp.zeros((), g.dtype), config)
        before = by_phase[i % stride]
        by_phase[i % stride] = part if before is None else before + part
    shape = list(maxima.shape)
    shape[axis] = windows + later
    phases = [jnp.zeros_like(g, shape=shape) if phase is None else phase for phase in by_phase]
    shape[axis] *= stride
    by_x = jnp.stack(phases, axis + 1).reshape(shape)
    missing = x.shape[axis] - shape[axis]
    config = [(0, 0, 0)] * x.ndim
    config[axis] = (0, missing, 0)  # or cut off
    return lax.pad(by_x, jnp.zeros((), g.dtype), config)
