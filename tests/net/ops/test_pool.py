"""Pools against NumPy; the CPU's max pooling against the definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from alexnet_jax.layers import AvgPool, MaxPool
from alexnet_jax.net.ops import pool

X = np.random.default_rng(0).normal(size=(2, 9, 7, 6)).astype(np.float32) * 20


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize(("window", "stride"), [(3, 2), (2, 2), (3, 1), (3, 3)])
@pytest.mark.parametrize(
    ("kind", "op", "reduce"), [(MaxPool, pool.max_pool, np.max), (AvgPool, pool.avg_pool, np.mean)]
)
def test_pools(kind, op, reduce, window, stride, ceil):
    layer = kind("p", window, stride, ceil)
    round_up = stride - 1 if ceil else 0
    rows, columns = ((size - window + round_up) // stride + 1 for size in X.shape[1:3])
    expected = np.empty((2, rows, columns, 6), np.float32)
    for y in range(rows):
        for x in range(columns):
            positions = X[:, y * stride : y * stride + window, x * stride : x * stride + window]
            expected[:, y, x] = reduce(positions, axis=(1, 2))
    np.testing.assert_allclose(op(X, layer), expected, rtol=1e-5, atol=1e-5)


def test_max_pool_gradient_goes_to_the_largest_element():
    layer = MaxPool("p", 3, 2)

    def library(x):
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "VALID")

    weights = jnp.asarray(np.random.default_rng(1).normal(size=pool.max_pool(X, layer).shape))
    ours, theirs = (
        jax.grad(lambda x, f=f: jnp.sum(weights * f(x)))(jnp.asarray(X))
        for f in (lambda x: pool.max_pool(x, layer), library)
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("size", "window", "stride", "padding"),
    [
        ((55, 55), 3, 2, [(0, 0)] * 2),  # pool1
        ((8, 7), 3, 2, [(0, 1), (0, 0)]),  # the last window reaches over the edge, as in cuda-convnet
        ((8, 9), 2, 2, [(0, 0)] * 2),  # a position that no window reaches
        ((7, 5), 4, 1, [(1, 2), (0, 0)]),
        ((9, 8), 2, 3, [(0, 0), (0, 1)]),  # positions between the windows
    ],
)
def test_max_pool_on_a_cpu(size, window, stride, padding, dtype):
    draws = np.random.default_rng(0)
    x = jnp.asarray(draws.permutation(3 * 5 * np.prod(size)).reshape(3, *size, 5) / 64, dtype)
    y, by_library = jax.vjp(lambda x: pool._max_pool(x, window, stride, padding), x)
    np.testing.assert_array_equal(pool._cpu_max_pool(x, window, stride, padding), y)
    g = jnp.asarray(draws.integers(-8, 9, y.shape), dtype)  # their sums are exact
    if dtype == "float32":  # in bfloat16 some elements are equal
        np.testing.assert_array_equal(
            pool._cpu_max_pool_gradient(x, g, window, stride, padding), by_library(g)[0]
        )
    else:
        found = pool._cpu_max_pool_gradient(x, g, window, stride, padding)
        exact = pool._cpu_max_pool_gradient(x.astype("float32"), g.astype("float32"), window, stride, padding)
        np.testing.assert_array_equal(found, exact.astype(dtype))


def test_of_equal_elements_one_gets_the_gradient():
    x, g = jnp.zeros((2, 7, 7, 3)), jnp.arange(2 * 3 * 3 * 3.0).reshape(2, 3, 3, 3)
    by_x = np.asarray(pool._cpu_max_pool_gradient(x, g, 3, 2, [(0, 0)] * 2))
    np.testing.assert_array_equal(by_x[:, :6:2, :6:2], g)
    assert by_x.sum() == g.sum()
