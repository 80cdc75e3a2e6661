"""Fully-connected layers: operands of the network's type, sums in float32, one kernel for each tower.

The definitions come first. Below them are the versions for TPUs, which must equal them.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from alexnet_jax.net.ops.versions import by_platform


@jax.custom_vjp
def dense(x_BxI: jax.Array, kernel_IxO: jax.Array) -> jax.Array:
    """Compute the product in float32. The gradients multiply operands of x's type, not float32."""
    return jnp.matmul(x_BxI, kernel_IxO, preferred_element_type=jnp.float32)


def _dense_forward(x_BxI: jax.Array, kernel_IxO: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return dense(x_BxI, kernel_IxO), (x_BxI, kernel_IxO)


def _dense_backward(saved: tuple[jax.Array, jax.Array], g_BxO: jax.Array) -> tuple[jax.Array, jax.Array]:
    x_BxI, kernel_IxO = saved
    g_BxO = g_BxO.astype(x_BxI.dtype)
    by_x, by_kernel = (
        jnp.matmul(a, b, preferred_element_type=jnp.float32)
        for a, b in ((g_BxO, kernel_IxO.T), (x_BxI.T, g_BxO))
    )
    return by_x.astype(x_BxI.dtype), by_kernel.astype(kernel_IxO.dtype)


dense.defvjp(_dense_forward, _dense_backward)


def dense_of_towers(xs: Sequence[jax.Array], kernels_TxIxO: jax.Array) -> list[jax.Array]:
    """Apply `dense` to each tower's flattened x, in x's type. On a TPU, one product if all towers share x."""

    def each(xs: Sequence[jax.Array], kernels_TxIxO: jax.Array) -> list[jax.Array]:
        pairs = zip(xs, jnp.unstack(kernels_TxIxO), strict=True)
        return [
            dense(x.reshape(x.shape[0], -1), kernel.astype(x.dtype)).astype(x.dtype) for x, kernel in pairs
        ]

    def at_once(x: jax.Array, kernels_TxIxO: jax.Array) -> list[jax.Array]:
        return list(jnp.unstack(_tpu_dense_of_towers(x.reshape(x.shape[0], -1), kernels_TxIxO), axis=1))

    if any(x is not xs[0] for x in xs):
        return each(xs, kernels_TxIxO)
    products: list[jax.Array] = by_platform(
        xs[0], kernels_TxIxO, tpu=at_once, default=lambda x, kernels: each([x] * len(xs), kernels)
    )
    return products


def sum_of_dense(xs: Sequence[jax.Array], kernels_TxIxO: jax.Array) -> jax.Array:
    """Multiply each tower's flattened x by its kernel, and sum in float32. On a TPU, in one product."""
    xs = [x.reshape(x.shape[0], -1) for x in xs]

    def each(xs: Sequence[jax.Array], kernels_TxIxO: jax.Array) -> jax.Array:
        pairs = zip(xs, jnp.unstack(kernels_TxIxO), strict=True)
        return functools.reduce(jnp.add, [dense(x, kernel.astype(x.dtype)) for x, kernel in pairs])

    def at_once(xs: Sequence[jax.Array], kernels_TxIxO: jax.Array) -> jax.Array:
        return _tpu_sum_of_dense(jnp.stack(xs, axis=1), kernels_TxIxO)

    summed: jax.Array = by_platform(xs, kernels_TxIxO, tpu=at_once, default=each)
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
