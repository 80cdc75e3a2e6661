"""Ways that keep a TPU from its memory, which bounds it; ``ops`` chooses them for one.

Plain JAX, told by the traffic that XLA counts. ``tpu_kernels`` has what XLA itself can't fuse.
"""

import jax
import jax.numpy as jnp
from jax import lax

from alexnet_jax.layers import LRN, MaxPool

LANES = 128
"""Numbers in a row of a tile, a TPU's vector register."""
SUBLANES = 16
"""Rows of bfloat16 in a tile; of float32 there are half as many."""
KERNEL_BYTES = 14 * 2**20
"""Of the 16 MiB that a kernel may have."""


def images_in_a_tile(maps: int) -> int:
    """Maps are in the lanes if they fill them, or else images."""
    return LANES if maps % LANES else LANES // 2


def fits(x_BxHxWxC: jax.Array, norm: LRN, pool: MaxPool) -> bool:
    """Whether `tpu_kernels.relu_lrn_max_pool` is written for arrays and windows of these sizes."""
    batch, height, width, maps = x_BxHxWxC.shape
    row = width * maps * images_in_a_tile(maps)
    size = x_BxHxWxC.dtype.itemsize
    # X and its gradient, two rows each; those of the windows, and the places.
    blocks = 4 * row * size + row // 2 * (size + 1)
    kept = 2 * row // 2 * 4
    return (
        (pool.window, pool.stride) == (3, 2)
        and height % 2 == width % 2 == 1  # so that the last windows end where the maps do
        and batch % images_in_a_tile(maps) == maps % SUBLANES == 0
        and max(norm.reach) < maps
        and 2 * blocks + kept <= KERNEL_BYTES  # of blocks one at work, one on its way
    )


@jax.custom_vjp
def dense_of_towers(x_BxI: jax.Array, kernels_TxIxO: jax.Array) -> jax.Array:
    """X times each tower's kernel, of shape BxTxO, in x's type.

    Products in this order leave the kernels as they lie, and the update becomes part of the one that makes
    their gradient; those of autodiff would transpose them.
    """
    return lax.dot_general(x_BxI, kernels_TxIxO.astype(x_BxI.dtype), (((1,), (1,)), ((), ())))


def _forward(x: jax.Array, kernels: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return dense_of_towers(x, kernels), (x, kernels)


def _backward(saved: tuple[jax.Array, jax.Array], g_BxTxO: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernels = saved
    by_x = lax.dot_general(g_BxTxO, kernels.astype(x.dtype), (((1, 2), (0, 2)), ((), ())))
    by_kernels_IxTxO = lax.dot_general(
        x, g_BxTxO, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32
    )
    return by_x, by_kernels_IxTxO.transpose(1, 0, 2)


dense_of_towers.defvjp(_forward, _backward)


@jax.custom_vjp
def sum_of_dense(x_BxTxI: jax.Array, kernels_TxIxO: jax.Array) -> jax.Array:
    """The sum of each tower's x times its kernel, BxO, float32; its gradients are products of x's type."""
    kernels_TxIxO = kernels_TxIxO.astype(x_BxTxI.dtype)
    over = (((1, 2), (0, 1)), ((), ()))
    return lax.dot_general(x_BxTxI, kernels_TxIxO, over, preferred_element_type=jnp.float32)


def _sum_forward(x: jax.Array, kernels: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return sum_of_dense(x, kernels), (x, kernels)


def _sum_backward(saved: tuple[jax.Array, jax.Array], g_BxO: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernels = saved
    g_BxO = g_BxO.astype(x.dtype)
    by_x = lax.dot_general(g_BxO, kernels.astype(x.dtype), (((1,), (2,)), ((), ())))
    return by_x, lax.dot_general(x, g_BxO, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32)


sum_of_dense.defvjp(_sum_forward, _sum_backward)
