"""Products against NumPy's, in value and gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.net.ops import dense


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_dense(dtype):
    draws = np.random.default_rng(0)
    x, w, g = (jnp.asarray(draws.integers(-4, 5, shape), dtype) for shape in [(7, 6), (6, 5), (7, 5)])
    y, transposed = jax.vjp(dense.dense, x, w)
    by_x, by_w = transposed(g.astype(y.dtype))
    assert (y.dtype, by_x.dtype, by_w.dtype) == (jnp.float32, x.dtype, w.dtype)
    x, w, g = (np.asarray(a, np.float32) for a in (x, w, g))
    for found, expected in [(y, x @ w), (by_x, g @ w.T), (by_w, x.T @ g)]:  # small whole numbers: exact
        np.testing.assert_array_equal(found.astype(jnp.float32), expected)
