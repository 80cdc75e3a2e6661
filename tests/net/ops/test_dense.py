"""Products against NumPy; those for a TPU against einsum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.net.ops import dense


@pytest.mark.parametrize("rounded", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_dense(dtype, rounded):
    random = np.random.default_rng(0)
    shapes = [(2, 7, 6), (2, 6, 5), (2, 7, 5)]
    x, w, g = (jnp.asarray(random.integers(-4, 5, shape), dtype) for shape in shapes)
    y, transposed = jax.vjp(lambda x, w: dense.dense(x, w, rounded), x, w)
    by_x, by_w = transposed(g.astype(y.dtype))
    assert (y.dtype, by_x.dtype, by_w.dtype) == (dtype if rounded else jnp.float32, x.dtype, w.dtype)
    x, w, g = (np.asarray(a, np.float32) for a in (x, w, g))
    by_hand = [(y, x @ w), (by_x, g @ w.swapaxes(1, 2)), (by_w, x.swapaxes(1, 2) @ g)]
    for found, expected in by_hand:  # small whole numbers: exact
        np.testing.assert_array_equal(found.astype(jnp.float32), expected)


def test_logits_of_bfloat16_are_not_rounded_to_it():
    x, kernels = draws(2, 8, 64).astype(jnp.bfloat16), draws(2, 64, 10, seed=1)
    logits = dense.sum_of_dense(list(x), kernels)
    expected = np.asarray(x, np.float32) @ np.asarray(kernels.astype(jnp.bfloat16), np.float32)
    np.testing.assert_allclose(logits, expected.sum(axis=0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shared", [True, False])
def test_dense_of_towers(shared):
    kernels, (one, other) = draws(2, 8, 5, seed=1), draws(2, 3, 2, 2, 2)
    xs = [one, one] if shared else [one, other]
    ys = dense.dense_of_towers(xs, kernels)
    for y, x, kernel in zip(ys, xs, kernels, strict=True):
        np.testing.assert_allclose(y, x.reshape(3, 8) @ kernel, rtol=1e-5, atol=1e-6)
    logits = dense.sum_of_dense(xs, kernels)
    np.testing.assert_allclose(logits, ys[0] + ys[1], rtol=1e-5, atol=1e-6)


def test_dense_of_towers_on_a_tpu():
    x, kernels = draws(3, 8), draws(2, 8, 5, seed=1)
    same_value_and_gradients(
        dense._tpu_dense_of_towers, lambda x, w: jnp.einsum("bi,tio->bto", x, w), x, kernels
    )


def test_sum_of_dense_on_a_tpu():
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
