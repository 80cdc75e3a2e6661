"""Products of the dense layers: operands of the net's type, sums in float32, one kernel for each tower."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from alexnet_jax.net.ops import tpu


@jax.custom_vjp
def dense(x_BxI: jax.Array, kernel_IxO: jax.Array) -> jax.Array:
    """The product, float32; its gradients are products of the operands' type too, and not of float32."""
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
    """`dense` of each tower's x, flattened, in x's type; for a TPU one product, if all read the same x."""

    def each(xs: Sequence[jax.Array], kernels_TxIxO: jax.Array) -> list[jax.Array]:
        pairs = zip(xs, jnp.unstack(kernels_TxIxO), strict=True)
        return [dense(x.reshape(len(x), -1), kernel.astype(x.dtype)).astype(x.dtype) for x, kernel in pairs]

    def at_once(x: jax.Array, kernels_TxIxO: jax.Array) -> list[jax.Array]:
        return list(jnp.unstack(tpu.dense_of_towers(x.reshape(len(x), -1), kernels_TxIxO), axis=1))

    if any(x is not xs[0] for x in xs):
        return each(xs, kernels_TxIxO)
    products: list[jax.Array] = lax.platform_dependent(
        xs[0], kernels_TxIxO, tpu=at_once, default=lambda x, kernels: each([x] * len(xs), kernels)
    )
    return products


def sum_of_dense(xs: Sequence[jax.Array], kernels_TxIxO: jax.Array) -> jax.Array:
    """The sum of each tower's x, flattened, times its kernel, float32; for a TPU one product."""
    xs = [x.reshape(len(x), -1) for x in xs]

    def each(xs: Sequence[jax.Array], kernels_TxIxO: jax.Array) -> jax.Array:
        pairs = zip(xs, jnp.unstack(kernels_TxIxO), strict=True)
        return functools.reduce(jnp.add, [dense(x, kernel.astype(x.dtype)) for x, kernel in pairs])

    def at_once(xs: Sequence[jax.Array], kernels_TxIxO: jax.Array) -> jax.Array:
        return tpu.sum_of_dense(jnp.stack(xs, axis=1), kernels_TxIxO)

    summed: jax.Array = lax.platform_dependent(xs, kernels_TxIxO, tpu=at_once, default=each)
    return summed
