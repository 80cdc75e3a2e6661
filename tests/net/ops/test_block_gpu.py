"""The kernels for GPUs against the definition, in value and gradient. Triton's interpreter runs them."""

import importlib.util
import multiprocessing
import os
import re
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from alexnet_jax import apply, build, init
from alexnet_jax.layers import LRN, Classifier, Conv, Dense, MaxPool, ReLU
from alexnet_jax.net.ops import block, lrn, pointwise, pool
from alexnet_jax.net.ops.block_tiles import fits_gpu

NORMS = [None, LRN("n", alpha=1e-2), LRN("n", window=4, beta=0.5, divide_alpha=True, alpha=0.1)]


class Tensor:
    """A NumPy array with those methods of a PyTorch tensor that Triton's interpreter calls.

    The interpreter copies each tensor to the CPU before a kernel runs, and back afterwards. The methods for
    this return the same array.
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


def interpret():
    """Let this process run the kernels in Triton's interpreter. Triton reads the variable at its import."""
    os.environ["TRITON_INTERPRET"] = "1"
    from alexnet_jax.net.ops import block_gpu

    def call(kernel, arguments, results, grid, **constants):
        def run(*arrays):
            found = [np.full(result.shape, 77, result.dtype) for result in results]  # the kernels fill them
            kernel[grid](*(Tensor(np.array(array)) for array in arrays), *map(Tensor, found), **constants)
            return found

        return jax.pure_callback(run, list(results), *arguments)

    block_gpu._call = call


@pytest.fixture(scope="module")
def triton():
    """Skip a test without Triton. In CI, fail instead if this Python can have Triton."""
    if importlib.util.find_spec("jax_triton") is None:
        if os.environ.get("ALEXNET_JAX_NO_SKIPS") and sys.version_info >= (3, 12):
            pytest.fail("jax-triton is not installed: pip install -e '.[dev]'")
        pytest.skip("jax-triton is not installed: it needs Linux and Python 3.12")


@pytest.fixture(scope="module")
def interpreted(triton):
    """Call a function in a process that interprets kernels."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=interpret) as process:
        yield lambda function, *args: process.submit(function, *args).result()


def draws(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def by_kernels(x, bias, norm, g):
    """Return y, and the gradients with respect to x and the bias from the gradient g of y."""
    from alexnet_jax.net.ops import block_gpu

    y, backward = jax.vjp(lambda x, bias: block_gpu.relu_lrn_max_pool(x, bias, norm), x, bias)
    return jax.tree.map(np.asarray, (y, *backward(g)))


def by_definition(x, bias, norm, g):
    def apply(x, bias):
        y = pointwise.relu(pointwise.add_bias(x, bias))
        return pool._max_pool(lrn.lrn(y, norm) if norm else y, 3, 2, [(0, 0), (0, 0)])

    y, backward = jax.vjp(apply, x, bias)
    return y, *backward(g)


@pytest.mark.parametrize("norm", [None, LRN("n", alpha=1e-2), LRN("n", 4, 1.0, 0.1, 0.5, divide_alpha=True)])
@pytest.mark.parametrize(
    "shape",
    [
        (3, 7, 9, 5),  # less than a tile of positions; two tiles for LRN
        (2, 11, 5, 48),  # several tiles, the last one not full
        (2, 6, 8, 17),  # the last row and column lie in no window
        (1, 3, 3, 1),
    ],
)
def test_relu_lrn_max_pool(interpreted, shape, norm):
    batch, height, width, channels = shape
    x, bias = 10 * draws(*shape), draws(channels, seed=1)
    assert fits_gpu(x, norm, MaxPool("p"))
    g = draws(batch, (height - 1) // 2, (width - 1) // 2, channels, seed=2)
    y, by_x, by_bias = interpreted(by_kernels, x, bias, norm, g)
    expected, *gradients = by_definition(x, bias, norm, g)
    np.testing.assert_allclose(y, expected, rtol=1e-5)
    np.testing.assert_allclose(by_x, gradients[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(by_bias, gradients[1], rtol=1e-4, atol=1e-4)


def test_bfloat16(interpreted):
    """Without LRN, and with exact sums: in bfloat16 the interpreter truncates, and multiplies wrongly."""
    x, bias, g = (np.round(4 * draws(*shape)) / 4 for shape in [(2, 9, 7, 40), (40,), (2, 4, 3, 40)])
    expected = by_definition(x, bias, None, g)
    x, bias, g = (array.astype(jnp.bfloat16) for array in (x, bias, g))
    found = interpreted(by_kernels, x, bias, None, g)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == jnp.bfloat16
        np.testing.assert_array_equal(a, b.astype(jnp.bfloat16))


@pytest.mark.parametrize("norm", [None, LRN("n", alpha=0.0, k=1.0)])
def test_the_first_of_equal_maxima_gets_the_gradient(interpreted, norm):
    x, nothing = np.round(draws(4, 9, 7, 16)), np.zeros(16, np.float32)
    g = 1 + np.arange(4 * 4 * 3 * 16, dtype=np.float32).reshape(4, 4, 3, 16)
    for found, expected in zip(
        interpreted(by_kernels, x, nothing, norm, g), by_definition(x, nothing, norm, g), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    _, by_x, _ = interpreted(by_kernels, np.ones_like(x), nothing, norm, g)
    np.testing.assert_array_equal(by_x[:, :-1:2, :-1:2], g)
    assert np.count_nonzero(by_x) == g.size


@pytest.mark.parametrize("norm", [None, LRN("n")])
def test_nan_is_passed_on_from_any_position_of_a_window(interpreted, norm):
    x, g = np.ones((10, 3, 3, 16), np.float32), np.ones((10, 1, 1, 16), np.float32)
    for position in range(9):
        x[position, position // 3, position % 3] = np.nan
    y, by_x, _ = interpreted(by_kernels, x, np.zeros(16, np.float32), norm, g)
    assert np.isnan(y[:9]).all()
    assert np.isfinite(y[9]).all()
    if norm is None:
        expected = np.where(np.isnan(x[:9]), 1, 0)
        np.testing.assert_array_equal(by_x[:9], expected)
    assert np.isfinite(by_x[9]).all()


def loss_and_gradients(config):
    """Differentiate a network with the GPU versions of its operations. Count these."""
    chosen = []

    def on_a_gpu(*args, default, cuda=None, **_):
        chosen.append(cuda)
        return (cuda or default)(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lax, "platform_dependent", on_a_gpu)
        found = by_platform(config)
    return found, len([choice for choice in chosen if choice])


def by_platform(config):
    model, images = build(config), draws(4, 15, 15, 3)

    def loss(params):
        return jnp.sum(jnp.sin(apply(model, params, images)))

    return jax.tree.map(np.asarray, jax.jit(jax.value_and_grad(loss))(init(model, jax.random.key(0))))


def test_a_network_with_the_versions_for_gpus(tiny, interpreted):
    """Both kinds of stages, with LRN and without it, in two towers."""
    tiny.data.image_size, tiny.data.crop_size = 16, 15
    tiny.net.layers = (
        Conv("conv1", features=6, kernel=3, stride=2, padding=(3, 3), bias=0.1, std=0.1),
        ReLU("relu1"),
        LRN("norm1", alpha=1e-2),
        MaxPool("pool1"),
        Conv("conv2", features=8, kernel=3, padding=(2, 2), reads="all", std=0.1),
        ReLU("relu2"),
        MaxPool("pool2"),
        Dense("fc3", units=16, reads="all", std=0.1),
        ReLU("relu3"),
        Classifier("fc4", classes=10, std=0.1),
    )
    found, count = interpreted(loss_and_gradients, tiny.copy_and_resolve_references())
    assert count == 12  # of each tower: two convolutions, their gradients, and two stages
    expected = by_platform(tiny)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), found, expected)


@pytest.mark.parametrize(
    ("shape", "norm", "layer", "fits"),
    [
        ((1, 55, 55, 48), LRN("n"), MaxPool("p"), True),
        ((1, 13, 13, 256), None, MaxPool("p"), True),
        ((1, 27, 27, 256), LRN("n"), MaxPool("p"), False),
        ((1, 13, 13, 1024), None, MaxPool("p"), False),
        ((1, 28, 28, 512), None, MaxPool("p"), True),
        ((1, 112, 112, 256), None, MaxPool("p"), False),
        ((1, 2, 9, 16), None, MaxPool("p"), False),
        ((1, 8, 9, 16), None, MaxPool("p"), True),
        ((1, 8, 9, 16), None, MaxPool("p", ceil=True), False),
        ((1, 9, 9, 16), None, MaxPool("p", ceil=True), True),
        ((1, 9, 9, 16), None, MaxPool("p", window=2), False),
        ((1, 9, 9, 16), None, MaxPool("p", stride=1), False),
    ],
)
def test_sizes_that_fit(shape, norm, layer, fits):
    assert fits_gpu(jax.ShapeDtypeStruct(shape, jnp.float32), norm, layer) == fits


def test_without_jax_triton_there_are_no_kernels(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax_triton", None)
    assert block._block_gpu.__wrapped__() is None


@pytest.mark.parametrize(
    ("before", "message"),
    [
        ("sys.modules['triton'] = None", "ModuleNotFoundError: import of triton halted"),
        (
            "import triton.backends.nvidia.driver as driver; del driver.TMA_TF32",  # as in Triton 3.6
            "ImportError: jax-triton .* needs another Triton than",
        ),
    ],
)
def test_a_triton_that_fails_is_not_used(triton, before, message):
    program = f"""
import sys
{before}
import jax.numpy as jnp
from alexnet_jax.layers import MaxPool, ReLU
from alexnet_jax.net.ops import block
for _ in range(2):
    y = block.relu_lrn_max_pool(jnp.ones((2, 5, 5, 4)), jnp.ones(4), ReLU("r"), None, MaxPool("p"))
print(y.shape)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "(2, 2, 2, 4)\n"
    (line,) = done.stderr.splitlines()
    assert re.match(f"the Triton kernels for GPUs are not used: {message}", line)
