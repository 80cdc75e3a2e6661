"""What is written for a CPU against the definition that it stands for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.net.ops import lrn as ops
from alexnet_jax.net.ops.pool import conv, kernel_gradient, max_pool, max_pool_gradient, window_sums


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("batch", "size", "kernel", "stride", "padding"),
    [
        (32, (23, 23), 11, 4, (0, 3)),  # conv1
        (16, (9, 7), 5, 1, (2, 2)),
        (3, (6, 6), 3, 1, (1, 1)),
        (7, (8, 8), 3, 2, (0, 1)),
        (1, (5, 5), 1, 1, (0, 0)),
        (17, (9, 9), 2, 3, (1, 0)),  # a stride beyond the kernel, a batch of no even parts
    ],
)
def test_the_gradient_by_the_kernel(batch, size, kernel, stride, padding, dtype):
    draws = np.random.default_rng(0)
    x = jnp.asarray(draws.normal(size=(batch, *size, 3)), dtype)
    w = jnp.asarray(draws.normal(size=(kernel, kernel, 3, 4)), dtype)
    y, by_library = jax.vjp(lambda w: ops._conv(x, w, stride, padding), w)
    g = jnp.asarray(draws.normal(size=y.shape), dtype)
    expected = np.asarray(by_library(g)[0], np.float32)
    found = kernel_gradient(x, g, w.shape[:2], stride, padding)
    assert (found.shape, found.dtype) == (w.shape, w.dtype)
    tolerance = {"float32": 1e-5, "bfloat16": 3e-2}[dtype] * np.abs(expected).max()
    np.testing.assert_allclose(np.asarray(found, np.float32), expected, atol=tolerance)


@pytest.mark.parametrize("maps", [1, 3, 9])
@pytest.mark.parametrize(("stride", "padding"), [(1, (2, 1)), (1, (0, 0)), (2, (1, 1)), (4, (0, 3))])
def test_convolution(maps, stride, padding):
    draws = np.random.default_rng(0)
    x, w = (jnp.float32(draws.normal(size=shape)) for shape in [(2, 9, 8, maps), (4, 3, maps, 5)])
    expected = ops._conv(x, w, stride, padding)
    np.testing.assert_allclose(conv(x, w, stride, padding), expected, rtol=1e-4, atol=1e-4)


def test_a_convolutions_gradients_are_the_librarys():
    draws = np.random.default_rng(0)
    x, w = (jnp.float32(draws.normal(size=shape)) for shape in [(8, 12, 12, 3), (5, 5, 3, 4)])

    def loss(conv):
        return lambda x, w: jnp.sum(jnp.sin(conv(x, w, 2, (1, 2))))

    found, expected = (jax.grad(loss(conv), (0, 1))(x, w) for conv in (ops.conv, ops._conv))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("size", "window", "stride", "padding"),
    [
        ((55, 55), 3, 2, [(0, 0)] * 2),  # pool1
        ((8, 7), 3, 2, [(0, 1), (0, 0)]),  # the last window over the edge, as cuda-convnet's
        ((8, 9), 2, 2, [(0, 0)] * 2),  # a place that no window reaches
        ((7, 5), 4, 1, [(1, 2), (0, 0)]),
        ((9, 8), 2, 3, [(0, 0), (0, 1)]),  # places between the windows
    ],
)
def test_max_pooling(size, window, stride, padding, dtype):
    draws = np.random.default_rng(0)
    x = jnp.asarray(draws.permutation(3 * 5 * np.prod(size)).reshape(3, *size, 5) / 64, dtype)
    y, by_library = jax.vjp(lambda x: ops._max_pool(x, window, stride, padding), x)
    np.testing.assert_array_equal(max_pool(x, window, stride, padding), y)
    g = jnp.asarray(draws.integers(-8, 9, y.shape), dtype)  # their sums are exact
    if dtype == "float32":  # bfloat16 has equals among so many numbers
        np.testing.assert_array_equal(max_pool_gradient(x, g, window, stride, padding), by_library(g)[0])


def test_of_equals_one_gets_the_gradient():
    x, g = jnp.zeros((2, 7, 7, 3)), jnp.arange(2 * 3 * 3 * 3.0).reshape(2, 3, 3, 3)
    by_x = np.asarray(max_pool_gradient(x, g, 3, 2, [(0, 0)] * 2))
    np.testing.assert_array_equal(by_x[:, :6:2, :6:2], g)
    assert by_x.sum() == g.sum()


@pytest.mark.parametrize(("first", "maps"), [(0, 9), (2, 5), (2, 7), (-1, 11)])
@pytest.mark.parametrize("reach", [(2, 2), (2, 1), (0, 0), (0, 3)])
def test_sums_over_neighbouring_maps(reach, first, maps):
    x = jnp.arange(3 * 9.0).reshape(3, 9) ** 2
    found = window_sums(x, reach, first, maps)
    np.testing.assert_array_equal(found, ops._banded_product(x, reach, first, maps))
