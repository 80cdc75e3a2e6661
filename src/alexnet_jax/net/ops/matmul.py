"""The matrix product with a result in float32."""

import jax
import jax.numpy as jnp
from jax import lax

from alexnet_jax.net.ops.versions import by_platform


def matmul(a: jax.Array, b: jax.Array) -> jax.Array:
    """Compute `jnp.matmul`, with operands of one type and sums in float32.

    On a CPU the result of bfloat16 operands is rounded to bfloat16. Otherwise XLA would convert the operands
    to float32, which takes up to three times as long.
    """
    if a.dtype == jnp.float32:
        return jnp.matmul(a, b)

    def on_cpu(a: jax.Array, b: jax.Array) -> jax.Array:
        # Without the barrier, XLA would round a float32 array that is added to the product, and the sum.
        return lax.optimization_barrier(jnp.matmul(a, b)).astype(jnp.float32)

    def definition(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.matmul(a, b, preferred_element_type=jnp.float32)

    product: jax.Array = by_platform(a, b, cpu=on_cpu, default=definition)
    return product
