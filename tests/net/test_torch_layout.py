"""torch_layout against a network with PyTorch's groups and layouts, written in NumPy."""

import jax
import numpy as np
import pytest

from alexnet_jax import UserError, apply, build, init, torch_layout
from alexnet_jax.layers import LRN, Dense, Dropout, replaced, without

KEY = jax.random.key(5)


def conv2d(x_BxCxHxW, weight, bias, groups):
    out, inputs, kernel, _ = weight.shape
    batch, _, height, width = x_BxCxHxW.shape
    rows, columns = height - kernel + 1, width - kernel + 1
    y = np.zeros((batch, out, rows, columns))
    for o in range(out):
        g = o // (out // groups)
        x = x_BxCxHxW[:, g * inputs : (g + 1) * inputs]
        for i in range(rows):
            for j in range(columns):
                y[:, o, i, j] = (x[:, :, i : i + kernel, j : j + kernel] * weight[o]).sum((1, 2, 3)) + bias[o]
    return y


def max_pool2d(x):
    rows, columns = ((size - 3) // 2 + 1 for size in x.shape[2:])
    return np.stack(
        [
            np.stack([x[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max((2, 3)) for j in range(columns)], -1)
            for i in range(rows)
        ],
        -2,
    )


def lrn_per_tower(x, towers, window=5, alpha=1e-4, beta=0.75, k=2.0):
    channels = x.shape[1] // towers
    y = np.empty_like(x)
    for c in range(x.shape[1]):
        first = c // channels * channels
        low, high = max(first, c - window // 2), min(first + channels, c + window // 2 + 1)
        y[:, c] = x[:, c] / (k + alpha * (x[:, low:high] ** 2).sum(1)) ** beta
    return y


def forward(arrays, images_BxHxWx3, towers, conv2_reads_all):
    """Compute the logits of the tiny recipe as a PyTorch network would."""
    x = np.pad(images_BxHxWx3.transpose(0, 3, 1, 2), [(0, 0), (0, 0), (0, 1), (0, 1)])
    x = np.maximum(conv2d(x, arrays["conv1.weight"], arrays["conv1.bias"], 1), 0)
    x = max_pool2d(lrn_per_tower(x, towers))
    x = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)])
    groups = 1 if conv2_reads_all else towers
    x = np.maximum(conv2d(x, arrays["conv2.weight"], arrays["conv2.bias"], groups), 0)
    x = np.maximum(x.reshape(len(x), -1) @ arrays["fc6.weight"].T + arrays["fc6.bias"], 0)
    return x @ arrays["fc8.weight"].T + arrays["fc8.bias"]


@pytest.mark.parametrize("towers", [1, 2])
@pytest.mark.parametrize("conv2", ["own", "all"])
@pytest.mark.parametrize("fc6", ["own", "all"])
def test_a_network_with_groups_computes_the_same_logits(tiny, towers, conv2, fc6):
    tiny.net.towers = towers
    tiny.net.layers = replaced(replaced(tiny.net.layers, "conv2", reads=conv2), "fc6", reads=fc6)
    model = build(tiny)
    params = init(model, KEY)
    images = np.asarray(jax.random.normal(KEY, (3, 7, 7, 3)))
    arrays = torch_layout(params, tiny)
    assert arrays["conv2.weight"].shape == (8 * towers, 6 * (towers if conv2 == "all" else 1), 3, 3)
    assert arrays["fc8.weight"].shape == (10, 16 * towers)
    np.testing.assert_allclose(
        forward(arrays, images, towers, conv2 == "all"), apply(model, params, images), rtol=1e-4, atol=1e-5
    )


def test_the_factor_of_dropout_at_test_is_folded_into_the_next_weights(tiny):
    params = init(build(tiny), KEY)
    arrays = torch_layout(params, tiny)
    kernel = np.asarray(params["fc8"]["kernel"])
    np.testing.assert_array_equal(arrays["fc8.weight"], 0.5 * np.concatenate(list(kernel)).T)
    tiny.net.layers = replaced(tiny.net.layers, "drop6", scale_at="training")
    arrays = torch_layout(params, tiny)
    np.testing.assert_array_equal(arrays["fc8.weight"], np.concatenate(list(kernel)).T)


def test_a_factor_that_cannot_be_folded_is_refused(tiny):
    layers = without(tiny.net.layers, "norm1")
    tiny.net.layers = (*layers[:2], Dropout("drop1"), LRN("norm1"), *layers[2:])
    with pytest.raises(UserError, match="before norm1 can't be folded"):
        torch_layout(init(build(tiny), KEY), tiny)


def test_dense_layers_after_dense_layers_keep_their_order(tiny):
    layers = list(tiny.net.layers)
    layers.insert(-1, Dense("fc7", units=4, reads="own", std=0.1))
    tiny.net.layers = tuple(layers)
    params = init(build(tiny), KEY)
    weight = torch_layout(params, tiny)["fc7.weight"]
    assert weight.shape == (8, 32)
    np.testing.assert_array_equal(weight[4:, :16], 0)
    np.testing.assert_array_equal(weight[4:, 16:], 0.5 * np.asarray(params["fc7"]["kernel"][1]).T)
