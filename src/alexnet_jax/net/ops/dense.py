"""Fully-connected layers: operands of the network's type, sums in float32, one kernel for each tower.

The definitions come first. Below them are the versions for TPUs, which must equal them.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from alexnet_jax.net.ops.matmul import matmul, rounded_matmul
from alexnet_jax.net.ops.versions import by_platform


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def dense(x_TxBxI: jax.Array, kernels_TxIxO: jax.Array, rounded: bool) -> jax.Array:
    """Compute the product of each tower: in x's type if ``rounded``, or else in float32.

    The gradients multiply operands of x's type. It is one operation for all towers: with one for each, XLA
    would copy the kernels on a CPU.
    """
    return (rounded_matmul if rounded else matmul)(x_TxBxI, kernels_TxIxO)


def _dense_forward(
    x_TxBxI: jax.Array, kernels_TxIxO: jax.Array, rounded: bool
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return dense(x_TxBxI, kernels_TxIxO, rounded), (x_TxBxI, kernels_TxIxO)


def _dense_backward(
    rounded: bool, saved: tuple[jax.Array, jax.Array], g_TxBxO: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x_TxBxI, kernels_TxIxO = saved
    g_TxBxO = g_TxBxO.astype(x_TxBxI.dtype)
    by_x = rounded_matmul(g_TxBxO, kernels_TxIxO.swapaxes(1, 2))
    return by_x, rounded_matmul(x_TxBxI.swapaxes(1, 2), g_TxBxO)


dense.defvjp(_dense_forward, _dense_backward)


def dense_of_towers(xs: Sequence[jax.Array], kernels_TxIxO: jax.Array) -> list[jax.Array]:
    """Apply `dense` to each tower's flattened x, in x's type. On a TPU, one product if all towers share x."""

    def stacked(xs: Sequence[jax.Array], kernels_TxIxO: jax.Array) -> list[jax.Array]:
        x_TxBxI = jnp.stack([x.reshape(x.shape[0], -1) for x in xs])
        return list(jnp.unstack(dense(x_TxBxI, kernels_TxIxO.astype(x_TxBxI.dtype), rounded=True)))

    def at_once(x: jax.Array, kernels_TxIxO: jax.Array) -> list[jax.Array]:
        return list(jnp.unstack(_tpu_dense_of_towers(x.reshape(x.shape[0], -1), kernels_TxIxO), axis=1))

    if any(x is not xs[0] for x in xs):
        return stacked(xs, kernels_TxIxO)
    products: list[jax.Array] = by_platform(
        xs[0], kernels_TxIxO, tpu=at_once, default=lambda x, kernels: stacked([x] * len(xs), kernels)
    )
    return products


def sum_of_dense(xs: Sequence[jax.Array], kernels_TxIxO: jax.Array) -> jax.Array:
    """Multiply each tower's flattened x by its kernel, and sum in float32. On a TPU, in one product."""
    xs = [x.reshape(x.shape[0], -1) for x in xs]

    def stacked(xs: Sequence[jax.Array], kernels_TxIxO: jax.Array) -> jax.Array:
        x_TxBxI = jnp.stack(xs)
        return dense(x_TxBxI, kernels_TxIxO.astype(x_TxBxI.dtype), rounded=False).sum(axis=0)

    def at_once(xs: Sequence[jax.Array], kernels_TxIxO: jax.Array) -> jax.Array:
        return _tpu_sum_of_dense(jnp.stack(xs, axis=1), kernels_TxIxO)

    summed: jax.Array = by_platform(xs, kernels_TxIxO, tpu=at_once, default=stacked)
    return summed


@jax.custom_vjp
def _tpu_dense_of_towers(x_BxI: jax.Array, kernels_TxIxO: jax.Array) -> jax.Array:
    """Multiply x by each tower's kernel: BxTxO, in x's type.

    The gradients of autodiff would transpose the kernels; these do not. XLA fuses the update with the product
    that computes the kernels' gradient.
    """
    return lax.dot_general(x_BxI, kernels_TxIxO.astype(x_BxI.dtype), (((1,), (1,)), ((), ())))


def _towers_forward(x: jax.Array, kernels: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _tpu_dense_of_towers(x, kernels), (x, kernels)


def _towers_backward(saved: tuple[jax.Array, jax.Array], g_BxTxO: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernels = saved
    by_x = lax.dot_general(g_BxTxO, kernels.astype(x.dtype), (((1, 2), (0, 2)), ((), ())))
    by_kernels_IxTxO = lax.dot_general(
        x, g_BxTxO, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32
    )
    return by_x, by_kernels_IxTxO.transpose(1, 0, 2)


_tpu_dense_of_towers.defvjp(_towers_forward, _towers_backward)


@jax.custom_vjp
def _tpu_sum_of_dense(x_BxTxI: jax.Array, kernels_TxIxO: jax.Array) -> jax.Array:
    """Multiply each tower's x by its kernel, and sum: BxO, float32. The gradients multiply in x's type."""
    kernels_TxIxO = kernels_TxIxO.astype(x_BxTxI.dtype)
    over = (((1, 2), (0, 1)), ((), ()))
    return lax.dot_general(x_BxTxI, kernels_TxIxO, over, preferred_element_type=jnp.float32)


def _sum_forward(x: jax.Array, kernels: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _tpu_sum_of_dense(x, kernels), (x, kernels)


def _sum_backward(saved: tuple[jax.Array, jax.Array], g_BxO: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernels = saved
    g_BxO = g_BxO.astype(x.dtype)
    by_x = lax.dot_general(g_BxO, kernels.astype(x.dtype), (((1,), (2,)), ((), ())))
    return by_x, lax.dot_general(x, g_BxO, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32)


_tpu_sum_of_dense.defvjp(_sum_forward, _sum_backward)
