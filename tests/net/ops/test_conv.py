"""Convolutions: the versions for CPUs and GPUs against the definition, local against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.layers import Local
from alexnet_jax.net.ops import conv
from alexnet_jax.parallel.mesh import local_mesh
from alexnet_jax.runtime.compiler import LEAST, compiler_options

X = np.random.default_rng(0).normal(size=(2, 9, 7, 6)).astype(np.float32) * 20


@pytest.mark.parametrize(
    ("dtype", "amx"), [("float32", True), ("bfloat16", False), ("bfloat16", True)], ids=lambda x: f"{x}"
)
@pytest.mark.parametrize(
    ("batch", "size", "kernel", "stride", "padding"),
    [
        (32, (23, 23), 11, 4, (0, 3)),  # conv1
        (16, (9, 7), 5, 1, (2, 2)),
        (3, (6, 6), 3, 1, (1, 1)),
        (7, (8, 8), 3, 2, (0, 1)),
        (4, (7, 6), 3, 1, (0, 2)),
        (1, (5, 5), 1, 1, (0, 0)),
        (17, (9, 9), 2, 3, (1, 0)),  # a stride larger than the kernel, a batch of odd size
    ],
)
def test_the_kernel_gradient_on_a_cpu(monkeypatch, batch, size, kernel, stride, padding, dtype, amx):
    monkeypatch.setattr(conv, "has_amx", lambda: amx)
    draws = np.random.default_rng(0)
    channels = 9 if amx else 3  # images have no version for AMX
    x = jnp.asarray(draws.normal(size=(batch, *size, channels)), dtype)
    w = jnp.asarray(draws.normal(size=(kernel, kernel, channels, 4)), dtype)
    y, by_library = jax.vjp(lambda w: conv._conv(x, w, stride, padding), w)
    g = jnp.asarray(draws.normal(size=y.shape), dtype)
    expected = np.asarray(by_library(g)[0], np.float32)
    found = conv._cpu_kernel_gradient(x, g, w.shape[:2], stride, padding)
    assert (found.shape, found.dtype) == (w.shape, w.dtype)
    tolerance = {"float32": 1e-5, "bfloat16": 3e-2}[dtype] * np.abs(expected).max()
    np.testing.assert_allclose(np.asarray(found, np.float32), expected, atol=tolerance)


@pytest.mark.parametrize(("channels", "amx"), [(1, False), (8, True)])
def test_kernel_gradients_of_many_images_are_summed_in_float32(monkeypatch, channels, amx):
    monkeypatch.setattr(conv, "has_amx", lambda: amx)
    # For 1x1 kernels of one input channel, XLA would add the sums in oneDNN, rounded to bfloat16.
    draws = np.random.default_rng(0)
    x, g = (jnp.asarray(draws.normal(1, 1, (1024, 9, 9, last)), jnp.bfloat16) for last in (channels, 64))
    options = compiler_options(local_mesh(), LEAST)
    gradient = jax.jit(
        lambda x, w, g: jax.vjp(lambda w: conv.conv(x, w, 1, (0, 0)), w)[1](g)[0], compiler_options=options
    )
    found = gradient(x, jnp.ones((1, 1, channels, 64), jnp.bfloat16), g).astype(jnp.float32)
    expected = np.einsum("bhwi,bhwo->io", *(np.asarray(a, np.float32) for a in (x, g)))
    np.testing.assert_allclose(found[0, 0], expected, rtol=0.01)


@pytest.mark.parametrize("channels", [3, 9])
@pytest.mark.parametrize(("stride", "padding"), [(1, (2, 1)), (1, (0, 0)), (2, (1, 1)), (4, (0, 3))])
def test_the_input_gradient_on_a_cpu(stride, padding, channels):
    draws = np.random.default_rng(0)
    x, w = (jnp.float32(draws.normal(size=shape)) for shape in [(2, 9, 8, channels), (4, 3, channels, 5)])
    y, by_library = jax.vjp(lambda x: conv._conv(x, w, stride, padding), x)
    g = jnp.float32(draws.normal(size=y.shape))
    found = conv._cpu_input_gradient(x, w, g, stride, padding)
    np.testing.assert_allclose(found, by_library(g)[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("size", "channels", "kernel", "stride", "padding"),
    [
        ((23, 23), 3, 11, 4, (0, 3)),  # conv1
        ((27, 31), 3, 5, 2, (2, 2)),
        ((16, 17), 1, 3, 2, (1, 0)),
        ((20, 20), 3, 4, 3, (0, 0)),  # the stride leaves two rows and columns that no window reads
        ((19, 24), 7, 8, 4, (3, 1)),  # the kernel consists of whole blocks
        ((9, 8), 3, 2, 3, (1, 0)),  # windows with gaps between them
        ((7, 6), 2, 1, 2, (0, 0)),
    ],
)
def test_convolution_in_blocks_of_pixels(size, channels, kernel, stride, padding):
    """The version for GPUs has the value and both gradients of the definition."""
    draws = np.random.default_rng(0)
    x, w = (jnp.float32(draws.normal(size=s)) for s in [(2, *size, channels), (kernel, kernel, channels, 5)])
    expected, by_library = jax.vjp(lambda x, w: conv._conv(x, w, stride, padding), x, w)
    found, gradients = jax.vjp(lambda x, w: conv._gpu_conv(x, w, stride, padding), x, w)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    g = jnp.float32(draws.normal(size=found.shape))
    for a, b in zip(gradients(g), by_library(g), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_convolution_in_blocks_of_pixels_in_bfloat16():
    """Value and gradients differ from those in float32 by less than 1 %, in the norm."""
    draws = np.random.default_rng(0)
    x, w = (jnp.asarray(draws.normal(size=s), jnp.bfloat16) for s in [(2, 23, 23, 3), (11, 11, 3, 5)])
    in_float32 = (jnp.float32(x), jnp.float32(w))
    expected, by_library = jax.vjp(lambda x, w: conv._conv(x, w, 4, (0, 3)), *in_float32)
    y, gradients = jax.vjp(lambda x, w: conv._gpu_conv(x, w, 4, (0, 3)), x, w)
    g = jnp.asarray(draws.normal(size=y.shape), jnp.bfloat16)
    for a, b in zip((y, *gradients(g)), (expected, *by_library(jnp.float32(g))), strict=True):
        assert a.dtype == jnp.bfloat16
        assert np.linalg.norm(jnp.float32(a) - b) < 0.01 * np.linalg.norm(b)


@pytest.mark.parametrize(("channels", "stride", "width"), [(8, 2, 3), (3, 1, 3), (3, 2, 2)])
def test_other_convolutions_on_a_gpu_are_those_of_the_definition(channels, stride, width):
    """Enough channels for the tensor cores, no blocks, or a kernel that is not square."""
    x, w = jnp.ones((1, 8, 8, channels)), jnp.ones((3, width, channels, 4))
    programs = [
        jax.make_jaxpr(lambda x, w, f=f: f(x, w, stride, (1, 1)))(x, w) for f in (conv._gpu_conv, conv._conv)
    ]
    assert str(programs[0]) == str(programs[1])


def test_gradients_of_a_convolution_equal_those_of_autodiff():
    draws = np.random.default_rng(0)
    x, w = (jnp.float32(draws.normal(size=shape)) for shape in [(8, 12, 12, 3), (5, 5, 3, 4)])

    def loss(convolve):
        return lambda x, w: jnp.sum(jnp.sin(convolve(x, w, 2, (1, 2))))

    found, expected = (jax.grad(loss(convolve), (0, 1))(x, w) for convolve in (conv.conv, conv._conv))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("window", "padding"), [(3, (1, 1)), (2, (0, 1)), (3, (0, 0))])
def test_local(window, padding):
    """Each position has its own kernel over the rows, columns and channels of its window, in this order."""
    random = np.random.default_rng(2)
    padded = np.pad(X, [(0, 0), padding, padding, (0, 0)])
    height, width = (size - window + 1 for size in padded.shape[1:3])
    kernel = random.normal(size=(height, width, window * window * 6, 5)).astype(np.float32)
    g = random.normal(size=(2, height, width, 5)).astype(np.float32)
    expected, by_x, by_kernel = np.zeros_like(g), np.zeros_like(padded), np.zeros_like(kernel)
    for n, i, j in np.ndindex(2, height, width):
        position = padded[n, i : i + window, j : j + window]
        expected[n, i, j] = position.reshape(-1) @ kernel[i, j]
        by_kernel[i, j] += np.outer(position.reshape(-1), g[n, i, j])
        by_x[n, i : i + window, j : j + window] += (kernel[i, j] @ g[n, i, j]).reshape(position.shape)
    layer = Local("l", features=5, kernel=window, padding=padding)
    found, gradient = jax.vjp(lambda x, kernel: conv.local(x, kernel, layer), X, kernel)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)
    inside = [slice(padding[0], padding[0] + size) for size in X.shape[1:3]]
    np.testing.assert_allclose(gradient(g)[0], by_x[:, inside[0], inside[1]], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(gradient(g)[1], by_kernel, rtol=1e-4, atol=1e-3)


def test_local_gradient_in_bfloat16():
    """The gradients of all windows that contain a position are summed in float32."""
    layer = Local("l", features=8, kernel=3, padding=(1, 1))
    random = np.random.default_rng(4)
    x, g = (random.normal(size=(2, 6, 6, channels)).astype(jnp.bfloat16) for channels in (16, 8))
    kernel = random.normal(size=(6, 6, 144, 8)).astype(jnp.bfloat16)

    def gradient(kind):
        by_x = jax.vjp(lambda x: conv.local(x, kernel.astype(kind), layer), x.astype(kind))[1]
        return by_x(g.astype(kind))[0].astype(np.float32)

    found, expected = gradient(jnp.bfloat16), gradient(jnp.float32)
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    assert error < 0.003  # each product and the sum are rounded to 8 bits; sums in bfloat16 would give 0.004
