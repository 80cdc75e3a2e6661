"""What is written for a TPU against its definitions, in value and gradient; it runs anywhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.experimental.pallas import tpu as pltpu

from alexnet_jax import apply, build, init
from alexnet_jax.data.augment import Statistics, random_views
from alexnet_jax.layers import LRN, Classifier, Conv, Dense, MaxPool, ReLU
from alexnet_jax.net.ops import block_tpu as tpu_kernels
from alexnet_jax.net.ops import lrn as ops
from alexnet_jax.net.ops import tpu
from alexnet_jax.plan.chips import devices_of


def draws(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.parametrize(("batch", "maps"), [(256, 16), (128, 128)])  # images in the lanes, maps in the lanes
@pytest.mark.parametrize("norm", [LRN("n", alpha=1e-2), LRN("n", window=4, beta=0.5, divide_alpha=True)])
def test_relu_lrn_max_pool(batch, maps, norm):
    x, bias = 10 * draws(batch, 5, 7, maps), draws(maps, seed=1)
    assert tpu.fits(x, norm, MaxPool("p"))

    def apart(x, bias):
        return ops.max_pool(ops.lrn(ops.relu(x + bias), norm), MaxPool("p"))

    expected, backward = jax.vjp(apart, x, bias)
    g = draws(*expected.shape, seed=2)
    with pltpu.force_tpu_interpret_mode():
        found, kernel_backward = jax.vjp(lambda *args: tpu_kernels.relu_lrn_max_pool(*args, norm), x, bias)
        gradients = kernel_backward(g)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    for a, b in zip(gradients, backward(g), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_of_equal_maxima_one_gets_the_gradient():
    """In bfloat16 many are equal; what is not passed on to one is passed on to another."""
    x = jnp.round(4 * draws(128, 7, 7, 16)).astype(jnp.bfloat16)
    norm, nothing = LRN("n", alpha=0.0, k=1.0), jnp.zeros(16, jnp.bfloat16)
    with pltpu.force_tpu_interpret_mode():
        y, backward = jax.vjp(lambda x: tpu_kernels.relu_lrn_max_pool(x, nothing, norm), x)
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
    assert not tpu.fits(x, LRN("n", window=window), pool)


def test_nan_is_passed_on_from_any_place_of_a_window():
    x, norm = jnp.ones((128, 3, 3, 16)), LRN("n")
    for place in range(9):
        x = x.at[place, place // 3, place % 3].set(jnp.nan)
    with pltpu.force_tpu_interpret_mode():
        y = tpu_kernels.relu_lrn_max_pool(x, jnp.zeros(16), norm)
    assert jnp.isnan(y[:9]).all()
    assert jnp.isfinite(y[9:]).all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_crops_are_slices_to_the_bit(dtype):
    images = draws(4, 9, 8, 3).astype(dtype)
    corners, mirrored = jnp.array([[0, 0], [3, 2], [1, 2], [2, 1]]), jnp.array([False, True, False, True])

    def sliced(image, corner, mirror):
        crop = lax.dynamic_slice(image, (corner[0], corner[1], 0), (6, 6, 3))
        return jnp.where(mirror, crop[:, ::-1], crop)

    expected = jax.vmap(sliced)(images, corners, mirrored)
    assert jnp.array_equal(tpu.chosen_places(images, corners, mirrored, 6), expected)


def test_dense_of_towers():
    x, kernels = draws(3, 8), draws(2, 8, 5, seed=1)
    same_value_and_gradients(tpu.dense_of_towers, lambda x, w: jnp.einsum("bi,tio->bto", x, w), x, kernels)


def test_sum_of_dense():
    x, kernels = draws(3, 2, 8), draws(2, 8, 5, seed=1)
    same_value_and_gradients(tpu.sum_of_dense, lambda x, w: jnp.einsum("bti,tio->bo", x, w), x, kernels)


def same_value_and_gradients(function, definition, *args):
    expected, backward = jax.vjp(definition, *args)
    found, own_backward = jax.vjp(function, *args)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    for a, b in zip(own_backward(expected), backward(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_step_on_a_tpu_is_the_same(tiny, monkeypatch):
    """The whole step with what it would choose on a TPU, against what it chooses here."""
    tiny.batch_size, tiny.data.color_noise = 128, 0.1
    tiny.net.layers = (
        Conv("conv1", maps=16, kernel=3, bias=0.1),
        ReLU("relu1"),
        LRN("norm1", alpha=1e-2),
        MaxPool("pool1"),
        Dense("fc6", units=16, reads="all"),
        ReLU("relu6"),
        Classifier("fc10", classes=10),
    )
    draws = np.random.default_rng(0)
    images = draws.integers(0, 256, (128, 8, 8, 3), dtype=np.uint8)
    labels = draws.integers(0, 10, 128, dtype=np.int32)

    def gradients():
        model = build(tiny)
        assert model.image_shape == (7, 7, 3)
        statistics = Statistics(jnp.full((8, 8, 3), 128.0), jnp.eye(3))

        def loss(params):
            views = random_views(images, 0, 128, jax.random.key(1), jnp.float32(0.1), statistics, tiny.data)
            logits = apply(model, params, views / 100)
            return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1))

        return jax.value_and_grad(loss)(init(model, jax.random.key(0)))

    expected = gradients()
    chosen = []

    def on_a_tpu(*args, default, tpu=None, cpu=None):
        chosen.append(tpu)
        return (tpu or default)(*args)

    monkeypatch.setattr(lax, "platform_dependent", on_a_tpu)
    with pltpu.force_tpu_interpret_mode():
        found = gradients()
    assert len([choice for choice in chosen if choice]) >= 4  # crops, the block, fc6, fc10
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), found, expected)


@pytest.mark.parametrize(
    ("size", "maps", "dtype"),
    [
        (55, 48, "float32"),
        (55, 48, "bfloat16"),
        (27, 128, "float32"),
        (27, 128, "bfloat16"),
        (27, 256, "bfloat16"),
    ],
)
def test_the_kernels_compile_for_a_tpu(libtpu, size, maps, dtype):
    """The paper's two stages, and the second one of a net of one tower."""
    x, norm = jax.ShapeDtypeStruct((128, size, size, maps), dtype), LRN("n")
    assert tpu.fits(x, norm, MaxPool("p"))
    device = devices_of("v5e:2x4")[0]

    def gradient(x, bias):
        y, backward = jax.vjp(lambda x, bias: tpu_kernels.relu_lrn_max_pool(x, bias, norm), x, bias)
        return backward(y)

    on_device = jax.sharding.SingleDeviceSharding(device)
    program = jax.jit(gradient, in_shardings=on_device, out_shardings=on_device)
    text = program.lower(x, jax.ShapeDtypeStruct((maps,), dtype)).compile().as_text()
    assert text.count("tpu_custom_call") >= 2
