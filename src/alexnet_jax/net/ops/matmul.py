"""Matrix products of operands of one type, with sums in float32."""

import jax
import jax.numpy as jnp
from jax import lax

from alexnet_jax.net.ops.versions import by_platform


def matmul(a: jax.Array, b: jax.Array) -> jax.Array:
    """Compute `jnp.matmul`, in float32."""
    return jnp.matmul(a, b, preferred_element_type=jnp.float32)


def rounded_matmul(a: jax.Array, b: jax.Array) -> jax.Array:
    """Compute `matmul`, rounded to the type of the operands."""
    product: jax.Array = by_platform(a, b, cpu=cpu_rounded_matmul, default=matmul)
    return product.astype(a.dtype)


def cpu_rounded_matmul(a: jax.Array, b: jax.Array) -> jax.Array:
    """Compute `matmul` on a CPU, round it to the type of the operands, and return it in float32.

    XLA multiplies bfloat16 operands in oneDNN only if the result is bfloat16. Otherwise it converts them to
    float32, which takes up to twice as long.
    """
    if a.dtype == jnp.float32:
        return matmul(a, b)
    # Without the barrier, XLA may do a later addition in oneDNN, which rounds the sum to bfloat16.
    return lax.optimization_barrier(jnp.matmul(a, b)).astype(jnp.float32)
