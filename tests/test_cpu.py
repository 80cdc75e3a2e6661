"""What is written for a CPU against the definition that it stands for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax import ops
from alexnet_jax.cpu import kernel_gradient


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


def test_a_convolutions_gradients_are_the_librarys():
    draws = np.random.default_rng(0)
    x, w = (jnp.float32(draws.normal(size=shape)) for shape in [(8, 12, 12, 3), (5, 5, 3, 4)])

    def loss(conv):
        return lambda x, w: jnp.sum(jnp.sin(conv(x, w, 2, (1, 2))))

    found, expected = (jax.grad(loss(conv), (0, 1))(x, w) for conv in (ops.conv, ops._conv))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
