"""ReLU, LRN and max pooling after a convolution; on a TPU they are one kernel."""

import functools

import jax
from jax import lax

from alexnet_jax.layers import LRN, MaxPool, ReLU
from alexnet_jax.net.ops import lrn, pointwise, pool
from alexnet_jax.net.ops.block_tiles import fits


def relu_lrn_max_pool(x: jax.Array, bias: jax.Array, relu: ReLU, norm: LRN, pooling: MaxPool) -> jax.Array:
    """Apply ReLU, LRN and max pooling to x + bias, in turn; on a TPU, in one kernel if it `fits`."""

    def in_turn(x: jax.Array, bias: jax.Array) -> jax.Array:
        x = pointwise.add_bias(x, bias)
        with jax.named_scope(relu.name):
            x = pointwise.relu(x)
        with jax.named_scope(norm.name):
            x = lrn.lrn(x, norm)
        with jax.named_scope(pooling.name):
            return pool.max_pool(x, pooling)

    if not fits(x, norm, pooling):
        return in_turn(x, bias)
    from alexnet_jax.net.ops import block_tpu  # imported only if needed: Pallas takes 0.2 s to import

    at_once = functools.partial(block_tpu.relu_lrn_max_pool, norm=norm)
    pooled: jax.Array = lax.platform_dependent(x, bias, tpu=at_once, default=in_turn)
    return pooled
