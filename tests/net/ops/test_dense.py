"""Products against NumPy; those for a TPU against einsum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.net.ops import dense


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_dense(dtype):
    random = np.random.default_rng(0)
    x, w, g = (jnp.asarray(random.integers(-4, 5, shape), dtype) for shape in [(7, 6), (6, 5), (7, 5)])
    y, transposed = jax.vjp(dense.dense, x, w)
    by_x, by_w = transposed(g.astype(y.dtype))
    assert (y.dtype, by_x.dtype, by_w.dtype) == (jnp.float32, x.dtype, w.dtype)
    x, w, g = (np.asarray(a, np.float32) for a in (x, w, g))
    for found, expected in [(y, x @ w), (by_x, g @ w.T), (by_w, x.T @ g)]:  # small whole numbers: exact
        np.testing.assert_array_equal(found.astype(jnp.float32), expected)


def test_dense_of_towers():
    x, kernels = draws(3, 8), draws(2, 8, 5, seed=1)
    same_value_and_gradients(
        dense._tpu_dense_of_towers, lambda x, w: jnp.einsum("bi,tio->bto", x, w), x, kernels
    )


def test_sum_of_dense():
    x, kernels = draws(3, 2, 8), draws(2, 8, 5, seed=1)
    same_value_and_gradients(
        dense._tpu_sum_of_dense, lambda x, w: jnp.einsum("bti,tio->bo", x, w), x, kernels
    )


def same_value_and_gradients(function, definition, *args):
    expected, backward = jax.vjp(definition, *args)
    found, own_backward = jax.vjp(function, *args)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    for a, b in zip(own_backward(expected), backward(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def draws(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)
