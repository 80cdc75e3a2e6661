"""The kernel for TPUs against the definition, in value and gradient. An interpreter runs it without a TPU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas import tpu as pltpu

from alexnet_jax.layers import LRN, MaxPool
from alexnet_jax.net.ops import block_tpu, lrn, pointwise, pool
from alexnet_jax.net.ops.block_tiles import fits_tpu
from alexnet_jax.plan.chips import devices_of


def draws(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.parametrize(
    ("batch", "channels"), [(256, 16), (128, 128)]
)  # images in the lanes, channels in the lanes
@pytest.mark.parametrize("norm", [LRN("n", alpha=1e-2), LRN("n", window=4, beta=0.5, divide_alpha=True)])
def test_relu_lrn_max_pool(batch, channels, norm):
    x, bias = 10 * draws(batch, 5, 7, channels), draws(channels, seed=1)
    assert fits_tpu(x, norm, MaxPool("p"))

    def apart(x, bias):
        return pool.max_pool(lrn.lrn(pointwise.relu(x + bias), norm), MaxPool("p"))

    expected, backward = jax.vjp(apart, x, bias)
    g = draws(*expected.shape, seed=2)
    with pltpu.force_tpu_interpret_mode():
        found, kernel_backward = jax.vjp(lambda *args: block_tpu.relu_lrn_max_pool(*args, norm), x, bias)
        gradients = kernel_backward(g)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    for a, b in zip(gradients, backward(g), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_of_equal_maxima_one_gets_the_gradient():
    """In bfloat16 many maxima are equal. The gradient of a window goes to exactly one of them."""
    x = jnp.round(4 * draws(128, 7, 7, 16)).astype(jnp.bfloat16)
    norm, nothing = LRN("n", alpha=0.0, k=1.0), jnp.zeros(16, jnp.bfloat16)
    with pltpu.force_tpu_interpret_mode():
        y, backward = jax.vjp(lambda x: block_tpu.relu_lrn_max_pool(x, nothing, norm), x)
        (by_x,) = backward(jnp.ones_like(y))
    assert by_x.astype(jnp.float32).sum() == (y > 0).sum()


@pytest.mark.parametrize(
    ("shape", "window", "pool"),
    [
        ((64, 5, 7, 16), 5, MaxPool("p")),
        ((128, 6, 7, 16), 5, MaxPool("p", ceil=True)),
        ((128, 5, 7, 24), 5, MaxPool("p")),
        ((128, 5, 7, 16), 33, MaxPool("p")),
        ((128, 5, 7, 16), 5, MaxPool("p", window=2)),
        ((128, 205, 205, 128), 5, MaxPool("p")),
    ],
)
def test_other_sizes_do_not_fit(shape, window, pool):
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    assert not fits_tpu(x, LRN("n", window=window), pool)


def test_nan_is_passed_on_from_any_position_of_a_window():
    x, norm = jnp.ones((128, 3, 3, 16)), LRN("n")
    for position in range(9):
        x = x.at[position, position // 3, position % 3].set(jnp.nan)
    with pltpu.force_tpu_interpret_mode():
        y = block_tpu.relu_lrn_max_pool(x, jnp.zeros(16), norm)
    assert jnp.isnan(y[:9]).all()
    assert jnp.isfinite(y[9:]).all()


@pytest.mark.parametrize(
    ("size", "channels", "dtype"),
    [
        (55, 48, "float32"),
        (55, 48, "bfloat16"),
        (27, 128, "float32"),
        (27, 128, "bfloat16"),
        (27, 256, "bfloat16"),
    ],
)
def test_the_kernels_compile_for_a_tpu(libtpu, size, channels, dtype):
    """The sizes of the paper's two stages, and of the second stage with one tower."""
    x, norm = jax.ShapeDtypeStruct((128, size, size, channels), dtype), LRN("n")
    assert fits_tpu(x, norm, MaxPool("p"))
    device = devices_of("v5e:2x4")[0]

    def gradient(x, bias):
        y, backward = jax.vjp(lambda x, bias: block_tpu.relu_lrn_max_pool(x, bias, norm), x, bias)
        return backward(y)

    on_device = jax.sharding.SingleDeviceSharding(device)
    program = jax.jit(gradient, in_shardings=on_device, out_shardings=on_device)
    text = program.lower(x, jax.ShapeDtypeStruct((channels,), dtype)).compile().as_text()
    assert text.count("tpu_custom_call") >= 2
