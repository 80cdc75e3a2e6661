"""Convolutions with stride 1 as matrix products, which a CPU computes quickly in bfloat16.

XLA converts the operands of a CPU's convolutions to float32, but multiplies bfloat16 matrices directly.
On a CPU with instructions for bfloat16 (AVX512-BF16, AMX) this is about twice as fast. On other CPUs
prefer float32. The windows that a kernel row reads are laid out for the whole batch. The products are
summed in float32. Only a few images are processed at a time, so that their data stays in the cache.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

IMAGES = 2
"""Largest number of images to process at a time."""


def conv(x_BxHxWxI: jax.Array, kernel_HxWxIxO: jax.Array, padding: tuple[int, int]) -> jax.Array:
    """Compute a convolution as the sum of the products of each kernel row with its windows."""
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

    # Round after the loop: inside it, XLA rounds one element at a time.
    out = lax.map(products, few_at_a_time(windows_BxRxQxWxI))
    return out.reshape(-1, *out.shape[2:]).astype(x_BxHxWxI.dtype)


def input_gradient(g_BxPxQxO: jax.Array, kernel_HxWxIxO: jax.Array, padding: tuple[int, int]) -> jax.Array:
    """Compute the gradient of `conv` with respect to x: g convolved with the rotated, square kernel."""
    rotated_HxWxOxI = kernel_HxWxIxO[::-1, ::-1].swapaxes(2, 3)
    reach = len(kernel_HxWxIxO) - 1
    return conv(g_BxPxQxO, rotated_HxWxOxI, (reach - padding[0], reach - padding[1]))


def kernel_gradient(
    x_BxHxWxI: jax.Array, g_BxPxQxO: jax.Array, size: Sequence[int], padding: tuple[int, int]
) -> jax.Array:
    """Compute the gradient of `conv` with respect to the kernel: one product for each kernel row.

    Its shape is ``(*size, I, O)``.
    """
    rows, features = g_BxPxQxO.shape[1], g_BxPxQxO.shape[-1]
    over_positions = (((1, 2, 3), (0, 1, 2)), ((), ()))

    def add(sums: list[jax.Array], chunk: list[jax.Array]) -> tuple[list[jax.Array], None]:
        windows, g = chunk
        windows = lax.bitcast_convert_type(windows, x_BxHxWxI.dtype)
        g_OxBxPxQ = g.transpose(3, 0, 1, 2)
        return [
            sum_OxWxI
            + lax.dot_general(
                g_OxBxPxQ, windows[:, i : i + rows], over_positions, preferred_element_type=jnp.float32
            )
            for i, sum_OxWxI in enumerate(sums)
        ], None

    chunks = [few_at_a_time(x) for x in (_windows(x_BxHxWxI, size[1], padding), g_BxPxQxO)]
    # Made from g, so that they vary over the same mesh axes.
    zeros = jnp.full_like(g_BxPxQxO, 0, jnp.float32, shape=(features, size[1], x_BxHxWxI.shape[-1]))
    sums, _ = lax.scan(add, [zeros] * size[0], chunks)
    return jnp.stack(sums).transpose(0, 2, 3, 1).astype(x_BxHxWxI.dtype)


def _windows(x_BxHxWxI: jax.Array, width: int, padding: tuple[int, int]) -> jax.Array:
    """Gather what a kernel row reads at each position: BxRxQxwidthxI, where R includes the padded rows.

    The result holds the bits of bfloat16 as integers. Otherwise XLA would store float32 if x was
    converted from it.
    """
    bits_BxHxWxI = lax.bitcast_convert_type(x_BxHxWxI, jnp.uint16)
    around = (*padding, 0)
    bits_BxRxSxI = lax.pad(bits_BxHxWxI, jnp.uint16(0), [(0, 0, 0), around, around, (0, 0, 0)])
    columns = bits_BxRxSxI.shape[2] - width + 1
    return bits_BxRxSxI[:, :, jnp.arange(columns)[:, None] + jnp.arange(width)]


def few_at_a_time(x: jax.Array, most: int = IMAGES) -> jax.Array:
    """Add a leading axis of chunks: the largest equal chunks of up to ``most`` images."""
    images = max(n for n in range(1, most + 1) if len(x) % n == 0)
    return x.reshape(-1, images, *x.shape[1:])
