"""Convolutions with a stride of 1 as products of matrices: how a CPU is quick in bfloat16.

XLA turns the operands of a CPU's convolutions to float32, but multiplies matrices of bfloat16 as they
are: about twice as fast on a CPU with instructions for that (AVX512-BF16, AMX). On others, stay with
float32. What each row of a kernel reads is laid out for all of the batch; products and their sums, in
float32, are of a few images at a time, which stay in the cache.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from alexnet_jax.net.ops.fusion import apart

IMAGES = 2
"""How many images at a time, at most."""


def conv(x_BxHxWxI: jax.Array, kernel_HxWxIxO: jax.Array, padding: tuple[int, int]) -> jax.Array:
    """A convolution: the products of each row of the kernel with its windows, added up."""
    windows_BxRxQxWxI = _windows(x_BxHxWxI, kernel_HxWxIxO.shape[1], padding)
    rows = windows_BxRxQxWxI.shape[1] - len(kernel_HxWxIxO) + 1

    def products(windows: jax.Array) -> jax.Array:
        windows = lax.bitcast_convert_type(windows, x_BxHxWxI.dtype)
        terms = [
            lax.dot_general(
                windows[:, i : i + rows],
                row,
                (((3, 4), (0, 1)), ((), ())),
                preferred_element_type=jnp.float32,
            )
            for i, row in enumerate(kernel_HxWxIxO)
        ]
        return sum(terms[1:], start=terms[0])

    # Rounded after the loop: within it, XLA rounds number by number.
    out = lax.map(products, few_at_a_time(windows_BxRxQxWxI))
    return out.reshape(-1, *out.shape[2:]).astype(x_BxHxWxI.dtype)


def input_gradient(g_BxPxQxO: jax.Array, kernel_HxWxIxO: jax.Array, padding: tuple[int, int]) -> jax.Array:
    """The gradient of a square kernel's `conv` by x, given that of its output: by the kernel turned round."""
    turned_HxWxOxI = kernel_HxWxIxO[::-1, ::-1].swapaxes(2, 3)
    reach = len(kernel_HxWxIxO) - 1
    return conv(g_BxPxQxO, turned_HxWxOxI, (reach - padding[0], reach - padding[1]))


def kernel_gradient(
    x_BxHxWxI: jax.Array, g_BxPxQxO: jax.Array, size: Sequence[int], padding: tuple[int, int]
) -> jax.Array:
    """The gradient of `conv` by the kernel, ``(*size, I, O)``: of each row, a product with its windows."""
    rows, maps = g_BxPxQxO.shape[1], g_BxPxQxO.shape[-1]
    over_places = (((1, 2, 3), (0, 1, 2)), ((), ()))

    def add(sums: list[jax.Array], chunk: list[jax.Array]) -> tuple[list[jax.Array], None]:
        windows, g = chunk
        windows = lax.bitcast_convert_type(windows, x_BxHxWxI.dtype)
        g_OxBxPxQ = g.transpose(3, 0, 1, 2)
        return [
            sum_OxWxI
            + lax.dot_general(
                g_OxBxPxQ, windows[:, i : i + rows], over_places, preferred_element_type=jnp.float32
            )
            for i, sum_OxWxI in enumerate(sums)
        ], None

    chunks = [few_at_a_time(x) for x in (_windows(x_BxHxWxI, size[1], padding), g_BxPxQxO)]
    # Made from g, so that they vary over the same mesh axes.
    zeros = jnp.full_like(g_BxPxQxO, 0, jnp.float32, shape=(maps, size[1], x_BxHxWxI.shape[-1]))
    sums, _ = lax.scan(add, [zeros] * size[0], chunks)
    return jnp.stack(sums).transpose(0, 2, 3, 1).astype(x_BxHxWxI.dtype)


def _windows(x_BxHxWxI: jax.Array, width: int, padding: tuple[int, int]) -> jax.Array:
    """What a row of the kernel reads at each place, B x R x Q x width x I; R are all rows, padded ones too.

    As bits, as XLA would lay out float32 if it saw that x was made from that.
    """

    def windows(x_BxHxWxI: jax.Array) -> jax.Array:
        around = (*padding, 0)
        x_BxRxSxI = lax.pad(x_BxHxWxI, jnp.uint16(0), [(0, 0, 0), around, around, (0, 0, 0)])
        places = x_BxRxSxI.shape[2] - width + 1
        return x_BxRxSxI[:, :, jnp.arange(places)[:, None] + jnp.arange(width)]

    return apart(windows)(lax.bitcast_convert_type(x_BxHxWxI, jnp.uint16))


def few_at_a_time(x: jax.Array, most: int = IMAGES) -> jax.Array:
    """The same images with an axis before them: so many at a time as divide the batch."""
    images = max(n for n in range(1, most + 1) if len(x) % n == 0)
    return x.reshape(-1, images, *x.shape[1:])
