"""The kernels for GPUs against the definition, in value and gradient. Triton's interpreter runs them on a CPU."""

import importlib.util
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.layers import LRN, MaxPool
from alexnet_jax.net.ops import lrn, pointwise, pool
from alexnet_jax.net.ops.block_tiles import fits_gpu

NORMS = [None, LRN("n", alpha=1e-2), LRN("n", window=4, beta=0.5, divide_alpha=True, alpha=0.1)]


class Tensor:
    """A NumPy array in the form that Triton's interpreter needs: what it uses of a PyTorch tensor.

    The interpreter copies each tensor to the CPU before a kernel runs, and back afterwards. This one stays.
    """

    def __init__(self, array):
        self.array, self.dtype = array, array.dtype.name

    def data_ptr(self):
        return self.array.ctypes.data

    def size(self):
        return self.array.shape

    def stride(self):
        return self.array.strides

    def storage_offset(self):
        return 0

    def untyped_storage(self):
        return self

    cpu = untyped_storage

    def new_empty(self, *_, **__):
        return self

    set_ = copy_ = new_empty


def interpret(kernel, arguments, results, grid, **constants):
    """Do what `block_gpu._call` does, on a CPU."""

    def run(*arrays):
        found = [np.full(result.shape, 77, result.dtype) for result in results]  # kernels fill them
        kernel[grid](*(Tensor(np.array(array)) for array in arrays), *map(Tensor, found), **constants)
        return found

    return jax.pure_callback(run, list(results), *arguments)


def on_gpu(x, bias, norm, g):
    """Return the kernels' y, and the gradients by x and bias from the gradient g of y."""
    from alexnet_jax.net.ops import block_gpu

    block_gpu._call = interpret
    y, backward = jax.vjp(lambda x, bias: block_gpu.relu_lrn_max_pool(x, bias, norm), x, bias)
    return jax.tree.map(np.asarray, (y, *backward(g)))


def in_turn(x, bias, norm, g):
    """Return the same from the definitions."""

    def apply(x, bias):
        y = pointwise.relu(pointwise.add_bias(x, bias))
        return pool.max_pool(lrn.lrn(y, norm) if norm else y, MaxPool("p"))

    y, backward = jax.vjp(apply, x, bias)
    return y, *backward(g)


@pytest.fixture(scope="module")
def triton():
    """Without Triton, fail in CI if it could be installed."""
    if importlib.util.find_spec("jax_triton") is None:
        if os.environ.get("ALEXNET_JAX_NO_SKIPS") and sys.version_info >= (3, 12):
            pytest.fail("jax-triton is not installed: pip install -e '.[dev]'")
        pytest.skip("jax-triton is not installed; it needs Python 3.12 and Linux")


@pytest.fixture(scope="module")
def elsewhere(triton):
    """Call a function in a process in which Triton interprets kernels. It reads the variable when imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            yield lambda function, *args: process.submit(function, *args).result()


def draws(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    "shape",
    [
        (3, 7, 9, 5),  # a part of a tile for the gradient, two tiles for LRN
        (2, 11, 5, 48),  # several tiles, with a part at the end
        (2, 6, 8, 17),  # the last row and column lie in no window
        (1, 3, 3, 1),
    ],
)
def test_value_and_gradients(elsewhere, shape, norm):
    batch, height, width, channels = shape
    x, bias = 10 * draws(*shape), draws(channels, seed=1)
    g = draws(batch, (height - 1) // 2, (width - 1) // 2, channels, seed=2)
    y, by_x, by_bias = elsewhere(on_gpu, x, bias, norm, g)
    expected, *gradients = in_turn(x, bias, norm, g)
    np.testing.assert_allclose(y, expected, rtol=1e-5)
    np.testing.assert_allclose(by_x, gradients[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(by_bias, gradients[1], rtol=1e-4, atol=1e-4)
