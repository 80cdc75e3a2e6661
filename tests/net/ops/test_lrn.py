"""Each operation against its definition, written plainly in NumPy, in value and gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from alexnet_jax.layers import LRN, AvgPool, Local, MapNorm, MaxPool
from alexnet_jax.net.ops import lrn as ops

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
    np.testing.assert_allclose(ops.lrn(X, layer), expected, rtol=1e-5)


@pytest.mark.parametrize("window", [5, 4, 2])
def test_lrn_of_a_tower_between_others(window):
    layer = LRN("n", window=window, alpha=1e-2, reads="all")
    before, after = layer.reach
    everything = lrn_by_definition(X, window, 1e-2, 0.75, 2.0)
    found = ops.lrn(X[..., 2:4], layer, X[..., 2 - before : 2], X[..., 4 : 4 + after])
    np.testing.assert_allclose(found, everything[..., 2:4], rtol=1e-5)


@pytest.mark.parametrize("layer", [LRN("n", alpha=1e-2), LRN("n", window=4, alpha=1e-2, beta=0.5)])
@pytest.mark.parametrize("beside", [False, True])
def test_lrn_gradient(layer, beside):
    """By x and by the maps beside it, against small steps through the definition."""
    before, after = layer.reach if beside else (0, 0)
    everything = X[0, 0].astype(np.float64)
    own = slice(before, everything.shape[-1] - after)
    weights = np.random.default_rng(1).normal(size=everything[..., own].shape)

    def found(everything):
        around = (everything[..., :before], everything[..., own.stop :]) if beside else ()
        return jnp.sum(weights.astype(np.float32) * ops.lrn(everything[..., own], layer, *around))

    def expected(everything):
        y = lrn_by_definition(everything, layer.window, layer.alpha, layer.beta, layer.k)
        return (weights * y[..., own]).sum()

    gradient = jax.grad(found)(jnp.float32(everything))
    for place in np.ndindex(everything.shape):
        step = np.zeros_like(everything)
        step[place] = 1e-4
        slope = (expected(everything + step) - expected(everything - step)) / 2e-4
        np.testing.assert_allclose(gradient[place], slope, rtol=1e-4, atol=1e-6)


def test_lrn_gradient_in_bfloat16():
    layer, x = LRN("n"), jnp.asarray(X, jnp.bfloat16)
    g = jnp.asarray(np.random.default_rng(1).normal(size=X.shape), jnp.bfloat16)
    found, expected = (
        jax.vjp(lambda x: ops.lrn(x, layer), x.astype(kind))[1](g.astype(kind))[0]
        for kind in (jnp.bfloat16, jnp.float32)
    )
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float32(found), expected, rtol=2e-2, atol=1e-2)


def test_map_norm():
    layer = MapNorm("n", window=3, alpha=1e-2)
    expected = np.empty_like(X)
    for y in range(9):
        for x in range(7):
            places = X[:, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
            expected[:, y, x] = X[:, y, x] / (1 + 1e-2 / 9 * (places**2).sum((1, 2))) ** 0.75
    np.testing.assert_allclose(ops.map_norm(X, layer), expected, rtol=1e-5)


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize(("window", "stride"), [(3, 2), (2, 2), (3, 1), (3, 3)])
@pytest.mark.parametrize(
    ("kind", "op", "reduce"), [(MaxPool, ops.max_pool, np.max), (AvgPool, ops.avg_pool, np.mean)]
)
def test_pools(kind, op, reduce, window, stride, ceil):
    layer = kind("p", window, stride, ceil)
    round_up = stride - 1 if ceil else 0
    rows, columns = ((size - window + round_up) // stride + 1 for size in X.shape[1:3])
    expected = np.empty((2, rows, columns, 6), np.float32)
    for y in range(rows):
        for x in range(columns):
            places = X[:, y * stride : y * stride + window, x * stride : x * stride + window]
            expected[:, y, x] = reduce(places, axis=(1, 2))
    np.testing.assert_allclose(op(X, layer), expected, rtol=1e-5, atol=1e-5)


def test_max_pool_gradient_goes_to_the_largest():
    layer = MaxPool("p", 3, 2)

    def library(x):
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "VALID")

    weights = jnp.asarray(np.random.default_rng(1).normal(size=ops.max_pool(X, layer).shape))
    ours, theirs = (
        jax.grad(lambda x, f=f: jnp.sum(weights * f(x)))(jnp.asarray(X))
        for f in (lambda x: ops.max_pool(x, layer), library)
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_a_bias_gets_the_sum_in_float32():
    x, bias = jnp.zeros((5, 20, 10, 3), jnp.bfloat16), jnp.zeros(3, jnp.bfloat16)
    gradient = jax.grad(lambda bias: jnp.sum(ops.add_bias(x, bias), dtype=jnp.float32))(bias)
    assert gradient.dtype == jnp.bfloat16
    np.testing.assert_array_equal(gradient, 1000)  # in bfloat16, 256 ones and one are 256


@pytest.mark.parametrize(("window", "padding"), [(3, (1, 1)), (2, (0, 1)), (3, (0, 0))])
def test_local(window, padding):
    """Each place has a kernel of its own; rows, columns and maps of its window, in this order."""
    random = np.random.default_rng(2)
    padded = np.pad(X, [(0, 0), padding, padding, (0, 0)])
    height, width = (size - window + 1 for size in padded.shape[1:3])
    kernel = random.normal(size=(height, width, window * window * 6, 5)).astype(np.float32)
    g = random.normal(size=(2, height, width, 5)).astype(np.float32)
    expected, by_x, by_kernel = np.zeros_like(g), np.zeros_like(padded), np.zeros_like(kernel)
    for n, i, j in np.ndindex(2, height, width):
        place = padded[n, i : i + window, j : j + window]
        expected[n, i, j] = place.reshape(-1) @ kernel[i, j]
        by_kernel[i, j] += np.outer(place.reshape(-1), g[n, i, j])
        by_x[n, i : i + window, j : j + window] += (kernel[i, j] @ g[n, i, j]).reshape(place.shape)
    layer = Local("l", maps=5, kernel=window, padding=padding)
    found, gradient = jax.vjp(lambda x, kernel: ops.local(x, kernel, layer), X, kernel)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)
    inside = [slice(padding[0], padding[0] + size) for size in X.shape[1:3]]
    np.testing.assert_allclose(gradient(g)[0], by_x[:, inside[0], inside[1]], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(gradient(g)[1], by_kernel, rtol=1e-4, atol=1e-3)


def test_local_gradient_in_bfloat16():
    """The parts of all windows that a place is in are added up in float32."""
    layer = Local("l", maps=8, kernel=3, padding=(1, 1))
    random = np.random.default_rng(4)
    x, g = (random.normal(size=(2, 6, 6, maps)).astype(jnp.bfloat16) for maps in (16, 8))
    kernel = random.normal(size=(6, 6, 144, 8)).astype(jnp.bfloat16)

    def gradient(kind):
        by_x = jax.vjp(lambda x: ops.local(x, kernel.astype(kind), layer), x.astype(kind))[1]
        return by_x(g.astype(kind))[0].astype(np.float32)

    found, expected = gradient(jnp.bfloat16), gradient(jnp.float32)
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    assert error < 0.003  # rounding each product and the sum to 8 bits; sums in bfloat16 have 0.004


@pytest.mark.parametrize("shape", [(6,), (9, 7, 6)])
def test_bias_of_maps_or_of_places(shape):
    bias = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    found, gradient = jax.vjp(ops.add_bias, X, bias)
    np.testing.assert_allclose(found, X + bias)
    by_x, by_bias = gradient(X)
    np.testing.assert_array_equal(by_x, X)
    np.testing.assert_allclose(by_bias, X.sum(axis=(0, 1, 2) if len(shape) == 1 else 0), rtol=1e-4)
