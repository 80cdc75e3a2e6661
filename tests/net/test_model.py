"""The network: the same results on any mesh, dropout, types, and initial values."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.experimental.pallas import tpu as pltpu
from jax.sharding import PartitionSpec as P

from alexnet_jax import apply, build, init
from alexnet_jax.data.augment import Statistics, random_views
from alexnet_jax.layers import (
    LRN,
    Classifier,
    Conv,
    Dense,
    Dropout,
    MaxPool,
    ReLU,
    replaced,
    without,
)
from alexnet_jax.net.model import Training, hidden
from alexnet_jax.net.ops import conv, lrn
from alexnet_jax.parallel.axes import TOWER
from alexnet_jax.parallel.mesh import make_mesh
from alexnet_jax.parallel.placement import param_specs

KEY = jax.random.key(3)


@pytest.fixture
def net(tiny):
    model = build(tiny)
    return model, init(model, KEY), jax.random.normal(KEY, (6, 7, 7, 3))


def test_parameters_are_named_and_have_a_tower_axis(net):
    _, params, _ = net
    assert list(params) == ["conv1", "conv2", "fc6", "fc8"]
    assert params["conv1"]["kernel"].shape == (2, 3, 3, 3, 6)
    assert params["conv2"]["kernel"].shape == (2, 3, 3, 12, 8)
    assert params["fc8"]["kernel"].shape == (2, 16, 10)
    assert params["fc8"]["bias"].shape == (1, 10)
    assert not np.array_equal(params["conv1"]["kernel"][0], params["conv1"]["kernel"][1])


def test_initial_values_follow_the_config(tiny):
    tiny.net.layers = replaced(replaced(tiny.net.layers, "fc6", bias=1.0), "conv2", std="fan_in")
    params = init(build(tiny), KEY)
    assert np.all(params["fc6"]["bias"] == 1)
    assert np.std(params["fc6"]["kernel"]) == pytest.approx(0.1, rel=0.05)
    limit = 1 / np.sqrt(3 * 3 * 12)
    assert 0.98 * limit < np.abs(params["conv2"]["kernel"]).max() <= limit
    assert 0 < np.abs(params["conv2"]["bias"]).max() <= limit


def test_removing_a_layer_does_not_change_the_other_initial_values(tiny):
    whole = init(build(tiny), KEY)
    tiny.net.layers = without(tiny.net.layers, "fc6", "relu6", "drop6")
    rest = init(build(tiny), KEY)
    assert np.array_equal(whole["conv2"]["kernel"], rest["conv2"]["kernel"])


def test_lrn_across_towers_equals_lrn_over_all_channels_on_any_mesh(tiny):
    """The reference has the channels of all towers in one array, as in Caffe. Gradients are compared too."""
    tiny.net.layers = replaced(tiny.net.layers, "norm1", reads="all", alpha=1.0)
    model = build(tiny)
    params, images = init(model, KEY), jax.random.normal(KEY, (6, 7, 7, 3))
    kernel = jnp.concatenate(jnp.unstack(params["conv1"]["kernel"]), axis=-1)
    all_channels = jax.nn.relu(conv.conv(images, kernel, 1, (0, 1)))  # the biases are zero
    seen = []

    def spy(x, layer, *edges, plain=lrn.lrn):
        seen.append(plain(x, layer, *edges))
        return seen[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lrn, "lrn", spy)
        apply(model, params, images)
    np.testing.assert_allclose(
        jnp.concatenate(seen, axis=-1), lrn.lrn(all_channels, LRN("n", alpha=1.0)), atol=1e-6
    )

    def loss(params, **axes):
        return jnp.sum(jnp.sin(apply(model, params, images, **axes)))

    mesh, specs = make_mesh(1, 2), param_specs(model.shapes)
    split = jax.shard_map(
        jax.grad(partial(loss, tower_axis=TOWER)), mesh=mesh, in_specs=(specs,), out_specs=specs
    )
    for a, b in zip(
        jax.tree.leaves(jax.jit(split)(params)), jax.tree.leaves(jax.jit(jax.grad(loss))(params)), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("train", [False, True])
def test_towers_on_two_devices_compute_what_one_device_does(net, train):
    model, params, images = net
    key = KEY if train else None
    mesh = make_mesh(1, 2)
    split = jax.jit(
        jax.shard_map(
            lambda params, images: apply(
                model, params, images, training=None if key is None else Training(key), tower_axis=TOWER
            ),
            mesh=mesh,
            in_specs=(param_specs(model.shapes), P()),
            out_specs=P(),
        )
    )
    alone = apply(model, params, images, training=None if key is None else Training(key))
    np.testing.assert_allclose(split(params, images), alone, rtol=1e-5, atol=1e-6)


def test_silent_towers_do_not_see_each_other(tiny):
    layers = replaced(replaced(tiny.net.layers, "conv2", reads="own"), "fc6", reads="own")
    tiny.net.layers = layers
    model = build(tiny)
    params = init(model, KEY)
    images = jax.random.normal(KEY, (2, 7, 7, 3))
    only_first = jax.tree.map(lambda x: x.at[1:].multiply(0) if x.shape[0] == 2 else x, params)
    only_second = jax.tree.map(lambda x: x.at[:1].multiply(0) if x.shape[0] == 2 else x, params)
    both = apply(model, params, images)
    np.testing.assert_allclose(
        apply(model, only_first, images) + apply(model, only_second, images), both, rtol=1e-4, atol=1e-5
    )


def test_dropout_of_2012_scales_at_test(tiny):
    images = jax.random.normal(KEY, (512, 7, 7, 3))
    at = {}
    for kind in ("test", "training"):
        tiny.net.layers = replaced(tiny.net.layers, "drop6", scale_at=kind)
        model = build(tiny)
        params = init(model, KEY)
        params["fc8"]["bias"] = jnp.zeros((1, 10))
        at[kind] = apply(model, params, images), apply(model, params, images, training=Training(KEY))
    # The masks are the same; the factor of 2 is applied at test or in training.
    np.testing.assert_allclose(at["training"][1], 2 * at["test"][1], rtol=1e-5)
    np.testing.assert_allclose(at["training"][0], 2 * at["test"][0], rtol=1e-5)


def test_dropout_draws_a_mask_for_each_example_and_tower(tiny):
    """With identity matrices as weights, the logits are the mask itself."""
    tiny.net.layers = (
        *without(tiny.net.layers, "fc8", "drop6"),
        Dropout("drop6", rate=0.5),
        Classifier("fc8", classes=16),
    )
    model = build(tiny)
    params = jax.tree.map(jnp.zeros_like, init(model, KEY))
    params["fc6"]["bias"] += 1
    params["fc8"]["kernel"] = jnp.stack([jnp.eye(16), 100 * jnp.eye(16)])
    masks = apply(model, params, jnp.zeros((200, 7, 7, 3)), training=Training(KEY))
    first, second = masks % 100, masks // 100
    assert set(np.unique(first)) == set(np.unique(second)) == {0, 1}
    assert first.mean() == pytest.approx(0.5, abs=0.03)
    assert not np.array_equal(first, second)
    assert len(np.unique(first, axis=0)) > 190


def test_bfloat16_is_close_to_float32_and_keeps_float32_parameters(tiny, net):
    _, params, images = net
    tiny.dtype = "bfloat16"
    model = build(tiny)
    assert {x.dtype for x in jax.tree.leaves(init(model, KEY))} == {jnp.dtype("float32")}
    logits = apply(model, params, images)
    assert logits.dtype == jnp.float32
    exact = apply(net[0], params, images)
    difference = np.abs(logits - exact).max() / np.abs(exact).max()
    assert 0 < difference < 0.03


def test_the_bias_of_the_classifier_is_added_once(net):
    model, params, images = net
    shifted = {**params, "fc8": {**params["fc8"], "bias": params["fc8"]["bias"] + 1}}
    np.testing.assert_allclose(apply(model, shifted, images), apply(model, params, images) + 1, rtol=1e-5)


def test_four_towers_on_two_devices_equal_one_device(tiny):
    tiny.net.towers = 4
    model = build(tiny)
    params = init(model, KEY)
    images = jax.random.normal(KEY, (2, 7, 7, 3))
    mesh = make_mesh(1, 2)
    split = jax.shard_map(
        lambda params, images: apply(model, params, images, tower_axis=TOWER),
        mesh=mesh,
        in_specs=(param_specs(model.shapes), P()),
        out_specs=P(),
    )
    np.testing.assert_allclose(
        jax.jit(split)(params, images), apply(model, params, images), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("towers", [1, 2])
def test_the_hidden_units_are_what_the_classifier_reads(tiny, towers):
    tiny.net.towers = towers
    model = build(tiny)
    params, images = init(model, KEY), jax.random.normal(KEY, (5, 7, 7, 3))
    params["fc8"]["bias"] = jax.random.normal(KEY, (1, 10))
    units = hidden(model, params, images)
    assert (units.shape, units.dtype) == ((5, towers * 16), jnp.float32)
    logits = units @ params["fc8"]["kernel"].reshape(towers * 16, 10) + params["fc8"]["bias"]
    np.testing.assert_allclose(apply(model, params, images), logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("towers", [1, 2])
def test_the_activations_of_each_layer_follow_from_those_before(tiny, towers):
    """Each layer is computed from the output of the layer before it, without the fused operations."""
    tiny.net.towers = towers
    model = build(tiny)
    params, images = init(model, KEY), jax.random.normal(KEY, (5, 7, 7, 3))
    for kinds in params.values():
        kinds["bias"] = jax.random.normal(KEY, kinds["bias"].shape)
    found = {layer.name: np.asarray(hidden(model, params, images, layer.name)) for layer in model.layers}

    def of_towers(name):
        return np.split(found[name], towers, axis=-1)

    def with_bias(name, xs):
        return np.concatenate([x + b for x, b in zip(xs, params[name]["bias"], strict=True)], axis=-1)

    for layer, before in zip(model.layers, (None, *model.layers), strict=False):
        read = images if before is None else found[before.name]
        match layer:
            case Conv():
                kernels = params[layer.name]["kernel"]  # conv1 reads the image, conv2 all towers
                xs = [conv.conv(read, kernel, layer.stride, layer.padding) for kernel in kernels]
                expected = with_bias(layer.name, xs)
            case Dense():
                rows = read.reshape(5, -1)
                expected = with_bias(layer.name, [rows @ kernel for kernel in params[layer.name]["kernel"]])
            case ReLU():
                expected = np.maximum(read, 0)
            case LRN():
                expected = np.concatenate([lrn.lrn(x, layer) for x in of_towers(before.name)], axis=-1)
            case MaxPool():
                windows = np.lib.stride_tricks.sliding_window_view(read, (3, 3), axis=(1, 2))[:, ::2, ::2]
                expected = windows.max(axis=(-2, -1))
            case Dropout():
                expected = read * (1 - layer.rate)
            case Classifier():
                expected = apply(model, params, images)
        np.testing.assert_allclose(found[layer.name], expected, rtol=1e-4, atol=1e-5, err_msg=layer.name)
        assert found[layer.name].dtype == np.float32
    np.testing.assert_array_equal(hidden(model, params, images), found["drop6"])


@pytest.mark.slow
def test_gradients_with_the_versions_for_tpus_are_the_same(tiny, monkeypatch):
    """Crops, network and gradients with the versions for TPUs, against the versions for this platform."""
    tiny.batch_size, tiny.data.color_noise = 128, 0.1
    tiny.net.layers = (
        Conv("conv1", features=16, kernel=3, bias=0.1),
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

    def on_a_tpu(*args, default, tpu=None, **_):
        chosen.append(tpu)
        return (tpu or default)(*args)

    monkeypatch.setattr(lax, "platform_dependent", on_a_tpu)
    with pltpu.force_tpu_interpret_mode():
        found = gradients()
    assert len([choice for choice in chosen if choice]) >= 4  # crops, the block, fc6, fc10
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), found, expected)
