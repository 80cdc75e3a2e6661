"""Gradients that XLA's CPU compiler is slow at, written so that they are quick there.

On one core of a Zen 3, XLA's gradient of a convolution by its kernel ran at a quarter of the speed of the
convolution itself. Here it is a sum of plain matrix products, one for each place of the kernel, and of a few
images at a time, so that they stay in the cache.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax

IMAGES = 16
"""How many images are worked on at a time, at most."""


def _of_chunks(f: Callable[..., jax.Array], *arrays: jax.Array) -> jax.Array:
    """``f`` of a few images of each array at a time, the results stacked."""
    chunk = max(n for n in range(1, IMAGES + 1) if len(arrays[0]) % n == 0)
    return lax.map(lambda chunks: f(*chunks), [x.reshape(-1, chunk, *x.shape[1:]) for x in arrays])


def kernel_gradient(
    x_BxHxWxI: jax.Array, g_BxPxQxO: jax.Array, size: Sequence[int], stride: int, padding: tuple[int, int]
) -> jax.Array:
    """The gradient of a convolution by its kernel, ``(*size, I, O)``, given that of its output."""
    # A stride s is none for blocks of s x s places taken as one with s * s times the maps.
    blocks = (-(-size[0] // stride), -(-size[1] // stride))

    def gradient(x_BxHxWxI: jax.Array, g_BxPxQxO: jax.Array) -> jax.Array:
        rows, columns = (n + k - 1 for n, k in zip(g_BxPxQxO.shape[1:3], blocks, strict=True))
        return _products(_in_blocks(x_BxHxWxI, stride, padding[0], rows, columns), g_BxPxQxO, blocks)

    sums = _of_chunks(gradient, x_BxHxWxI, g_BxPxQxO).sum(0)
    return _in_places(sums, stride, size).astype(x_BxHxWxI.dtype)


def _products(x_BxHxWxI: jax.Array, g_BxPxQxO: jax.Array, size: Sequence[int]) -> jax.Array:
    """For each place of the kernel, what it met times the gradient of what came of it."""
    _, rows, columns, maps = g_BxPxQxO.shape
    g_NxO = g_BxPxQxO.reshape(-1, maps)

    def product(top: int, left: int) -> jax.Array:
        met = x_BxHxWxI[:, top : top + rows, left : left + columns]
        return jnp.matmul(met.reshape(len(g_NxO), -1).T, g_NxO, preferred_element_type=jnp.float32)

    return jnp.stack([jnp.stack([product(top, left) for left in range(size[1])]) for top in range(size[0])])


def _in_blocks(x_BxHxWxI: jax.Array, stride: int, before: int, rows: int, columns: int) -> jax.Array:
    """Images as rows x columns blocks of places, padded at the start and wherever else they end too soon."""
    batch, height, width, _ = x_BxHxWxI.shape
    config = [
        (0, 0, 0),
        (before, rows * stride - before - height, 0),
        (before, columns * stride - before - width, 0),
        (0, 0, 0),
    ]
    x = lax.pad(x_BxHxWxI, jnp.zeros((), x_BxHxWxI.dtype), config)
    x = x.reshape(batch, rows, stride, columns, stride, -1).swapaxes(2, 3)
    return x.reshape(batch, rows, columns, -1)


def _in_places(kernel: jax.Array, stride: int, size: Sequence[int]) -> jax.Array:
    """A kernel over blocks as the kernel over places that it stands for."""
    rows, columns, _, maps = kernel.shape
    kernel = kernel.reshape(rows, columns, stride, stride, -1, maps).swapaxes(1, 2)
    return kernel.reshape(rows * stride, columns * stride, -1, maps)[: size[0], : size[1]]
