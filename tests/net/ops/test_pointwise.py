"""Biases, in value and gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.net.ops import pointwise

X = np.random.default_rng(0).normal(size=(2, 9, 7, 6)).astype(np.float32) * 20


def test_the_gradient_of_a_bias_is_summed_in_float32():
    x, bias = jnp.zeros((5, 20, 10, 3), jnp.bfloat16), jnp.zeros(3, jnp.bfloat16)
    gradient = jax.grad(lambda bias: jnp.sum(pointwise.add_bias(x, bias), dtype=jnp.float32))(bias)
    assert gradient.dtype == jnp.bfloat16
    np.testing.assert_array_equal(gradient, 1000)  # in bfloat16, 256 ones and one are 256


@pytest.mark.parametrize("shape", [(6,), (9, 7, 6)])
def test_bias_of_channels_or_of_positions(shape):
    bias = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    found, gradient = jax.vjp(pointwise.add_bias, X, bias)
    np.testing.assert_allclose(found, X + bias)
    by_x, by_bias = gradient(X)
    np.testing.assert_array_equal(by_x, X)
    np.testing.assert_allclose(by_bias, X.sum(axis=(0, 1, 2) if len(shape) == 1 else 0), rtol=1e-4)
