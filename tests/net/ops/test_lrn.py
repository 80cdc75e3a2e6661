"""Response normalization against its definition in NumPy, in value and gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.layers import LRN, MapNorm
from alexnet_jax.net.ops import lrn

X = np.random.default_rng(0).normal(size=(2, 9, 7, 6)).astype(np.float32) * 20


def lrn_by_definition(x, window, alpha, beta, k):
    y = np.empty_like(x)
    for i in range(x.shape[-1]):
        neighbours = x[..., max(0, i - window // 2) : i - window // 2 + window]
        y[..., i] = x[..., i] / (k + alpha * (neighbours**2).sum(-1)) ** beta
    return y


@pytest.mark.parametrize("divide_alpha", [False, True])
@pytest.mark.parametrize("beta", [0.75, 0.5])
@pytest.mark.parametrize("window", [5, 3, 4])
def test_lrn(divide_alpha, beta, window):
    layer = LRN("n", window=window, alpha=1e-2, beta=beta, k=2.0, divide_alpha=divide_alpha)
    expected = lrn_by_definition(X, window, 1e-2 / window if divide_alpha else 1e-2, beta, 2.0)
    np.testing.assert_allclose(lrn.lrn(X, layer), expected, rtol=1e-5)


@pytest.mark.parametrize("window", [5, 4, 2])
def test_lrn_of_a_tower_between_others(window):
    layer = LRN("n", window=window, alpha=1e-2, reads="all")
    before, after = layer.reach
    everything = lrn_by_definition(X, window, 1e-2, 0.75, 2.0)
    found = lrn.lrn(X[..., 2:4], layer, X[..., 2 - before : 2], X[..., 4 : 4 + after])
    np.testing.assert_allclose(found, everything[..., 2:4], rtol=1e-5)


@pytest.mark.parametrize("layer", [LRN("n", alpha=1e-2), LRN("n", window=4, alpha=1e-2, beta=0.5)])
@pytest.mark.parametrize("beside", [False, True])
def test_lrn_gradient(layer, beside):
    """With respect to x and the channels beside it, against finite differences of the definition."""
    before, after = layer.reach if beside else (0, 0)
    everything = X[0, 0].astype(np.float64)
    own = slice(before, everything.shape[-1] - after)
    weights = np.random.default_rng(1).normal(size=everything[..., own].shape)

    def found(everything):
        around = (everything[..., :before], everything[..., own.stop :]) if beside else ()
        return jnp.sum(weights.astype(np.float32) * lrn.lrn(everything[..., own], layer, *around))

    def expected(everything):
        y = lrn_by_definition(everything, layer.window, layer.alpha, layer.beta, layer.k)
        return (weights * y[..., own]).sum()

    gradient = jax.grad(found)(jnp.float32(everything))
    for position in np.ndindex(everything.shape):
        step = np.zeros_like(everything)
        step[position] = 1e-4
        slope = (expected(everything + step) - expected(everything - step)) / 2e-4
        np.testing.assert_allclose(gradient[position], slope, rtol=1e-4, atol=1e-6)


def test_lrn_gradient_in_bfloat16():
    layer, x = LRN("n"), jnp.asarray(X, jnp.bfloat16)
    g = jnp.asarray(np.random.default_rng(1).normal(size=X.shape), jnp.bfloat16)
    found, expected = (
        jax.vjp(lambda x: lrn.lrn(x, layer), x.astype(kind))[1](g.astype(kind))[0]
        for kind in (jnp.bfloat16, jnp.float32)
    )
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float32(found), expected, rtol=2e-2, atol=1e-2)


def test_map_norm():
    layer = MapNorm("n", window=3, alpha=1e-2)
    expected = np.empty_like(X)
    for y in range(9):
        for x in range(7):
            positions = X[:, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
            expected[:, y, x] = X[:, y, x] / (1 + 1e-2 / 9 * (positions**2).sum((1, 2))) ** 0.75
    np.testing.assert_allclose(lrn.map_norm(X, layer), expected, rtol=1e-5)


@pytest.mark.parametrize(("first", "channels"), [(0, 9), (2, 5), (2, 7), (-1, 11)])
@pytest.mark.parametrize("reach", [(2, 2), (2, 1), (0, 0), (0, 3)])
def test_sums_over_neighbouring_channels(reach, first, channels):
    x = np.arange(3 * 9.0).reshape(3, 9) ** 2
    padded = np.pad(x, [(0, 0), (8, 8)])  # zeros beyond the first and the last channel
    before, after = reach
    expected = [padded[:, 8 + c - before : 8 + c + after + 1].sum(1) for c in range(first, first + channels)]
    found = lrn._window_sums(jnp.float32(x), jnp.float32, reach, first, channels)
    np.testing.assert_array_equal(found, np.stack(expected, axis=-1))
