"""The sizes that the kernels of `block_tpu` and `block_gpu` support. This module imports neither."""

import jax

from alexnet_jax.layers import LRN, MaxPool
from alexnet_jax.runtime.devices import lacks_bfloat16

LANES = 128
"""TPU: elements in a row of a tile, a vector register."""
SUBLANES = 16
"""TPU: rows of a tile in bfloat16; in float32 there are half as many."""
KERNEL_BYTES = 14 * 2**20
"""TPU: largest memory for the blocks of a kernel. The limit for a whole kernel is 16 MiB."""
ROW_ELEMENTS = 8192
"""GPU: elements of the largest row of windows. Larger rows exceed the registers, and compile slowly."""


def images_in_a_tile(channels: int) -> int:
    """Return how many images share a tile. The lanes hold channels if these fill them, otherwise images."""
    return LANES if channels % LANES else LANES // 2


def fits_tpu(x_BxHxWxC: jax.Array, norm: LRN, pool: MaxPool) -> bool:
    """Return whether `block_tpu.relu_lrn_max_pool` supports these sizes."""
    batch, height, width, channels = x_BxHxWxC.shape
    row = width * channels * images_in_a_tile(channels)
    itemsize = x_BxHxWxC.dtype.itemsize
    # Two rows of x and two of its gradient. For a row of windows: gradients and positions of the maxima.
    blocks = 4 * row * itemsize + row // 2 * (itemsize + 1)
    kept = 4 * row
    return (
        (pool.window, pool.stride) == (3, 2)
        and height % 2 == width % 2 == 1  # so that the last windows end at the edge
        and batch % images_in_a_tile(channels) == channels % SUBLANES == 0
        and max(norm.reach) < channels
        and 2 * blocks + kept <= KERNEL_BYTES  # one block is computed while the next one is loaded
    )


def fits_gpu(x_BxHxWxC: jax.Array, norm: LRN | None, pool: MaxPool) -> bool:
    """Return whether `block_gpu.relu_lrn_max_pool` supports these sizes and the GPU."""
    _, height, width, channels = x_BxHxWxC.shape
    row = _power_of_2((width - 1) // 2) * _power_of_2(channels)
    return (
        (pool.window, pool.stride) == (3, 2)
        and (not pool.ceil or height % 2 == width % 2 == 1)  # so that the last windows end at the edge
        and min(height, width) >= 3
        and channels <= (128 if norm else 512)  # the registers of a multiprocessor
        and row <= ROW_ELEMENTS
        and not any(map(lacks_bfloat16, jax.local_devices()))
    )


def _power_of_2(n: int) -> int:
    """Return the smallest power of two that is at least n, the size of a tile in Triton."""
    return 1 << (n - 1).bit_length()
