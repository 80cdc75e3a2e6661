"""The recipes against the tables of the paper and of the published code."""

import math

import pytest

from alexnet_jax import UserError, get_config
from alexnet_jax.layers import (
    LRN,
    AvgPool,
    Classifier,
    Conv,
    Dense,
    Dropout,
    Local,
    MapNorm,
    MaxPool,
    ReLU,
)
from alexnet_jax.layers.saved import from_json, to_json
from alexnet_jax.net.shapes import config_shapes, layer_shapes
from tests.conftest import CONFIGS


def shapes_of(path):
    config = get_config(f"{CONFIGS}/{path}")
    return {t.layer.name: t for t in config_shapes(config)}, config


def parameters(net):
    return sum(math.prod(shape) for t in net.values() for shape in t.params.values())


# layer, features of a tower, kernel, stride, padding, what it reads, initial bias, outputs of a tower
PAPER = [
    ("conv1", 48, 11, 4, (0, 3), "own", 0, (55, 55, 48)),
    ("conv2", 128, 5, 1, (2, 2), "own", 1, (27, 27, 128)),
    ("conv3", 192, 3, 1, (1, 1), "all", 0, (13, 13, 192)),
    ("conv4", 192, 3, 1, (1, 1), "own", 1, (13, 13, 192)),
    ("conv5", 128, 3, 1, (1, 1), "own", 1, (13, 13, 128)),
]


@pytest.mark.parametrize(
    ("name", "features", "kernel", "stride", "padding", "reads", "bias", "outputs"), PAPER
)
def test_convolutions_of_section_3_5(name, features, kernel, stride, padding, reads, bias, outputs):
    net, _ = shapes_of("alexnet.py")
    layer = net[name].layer
    assert (layer.features, layer.kernel, layer.stride, layer.padding) == (features, kernel, stride, padding)
    assert (layer.reads, layer.bias, layer.std) == (reads, bias, 0.01)
    assert net[name].outputs == outputs


def test_the_order_of_section_3_5():
    """ReLU after every layer, then LRN after conv1 and conv2, pools after these and conv5, dropout twice."""
    net, _ = shapes_of("alexnet.py")
    assert " ".join(net) == (
        "conv1 relu1 norm1 pool1 conv2 relu2 norm2 pool2 conv3 relu3 conv4 relu4 conv5 relu5 pool5"
        " fc6 relu6 drop6 fc7 relu7 drop7 fc8"
    )
    kinds = {"relu": ReLU, "norm": LRN, "pool": MaxPool, "drop": Dropout}
    for name, found in net.items():
        if name[:4] in kinds:
            assert isinstance(found.layer, kinds[name[:4]])
    assert {net[n].layer.window for n in ("pool1", "pool2", "pool5")} == {3}
    assert {net[n].layer.rate for n in ("drop6", "drop7")} == {0.5}


def test_dense_layers_of_section_3_5():
    net, _ = shapes_of("alexnet.py")
    assert [(net[n].layer.units, net[n].layer.reads, net[n].layer.bias) for n in ("fc6", "fc7")] == [
        (2048, "all", 1)
    ] * 2
    assert (net["fc8"].layer.classes, net["fc8"].layer.bias) == (1000, 0)


def test_sizes_after_the_pools():
    net, _ = shapes_of("alexnet.py")
    assert [net[n].outputs[0] for n in ("pool1", "pool2", "pool5")] == [27, 13, 6]


def test_neurons_as_the_paper_counts_them():
    net, config = shapes_of("alexnet.py")
    neurons = {n: config.net.towers * math.prod(net[n].outputs) for n in net if n.startswith(("conv", "fc"))}
    neurons["fc8"] //= config.net.towers  # the logits belong to no tower
    assert neurons == {
        "conv1": 290_400,  # the paper's 253,440 does not follow from its own sizes
        "conv2": 186_624,
        "conv3": 64_896,
        "conv4": 64_896,
        "conv5": 43_264,
        "fc6": 4096,
        "fc7": 4096,
        "fc8": 1000,
    }


@pytest.mark.parametrize(
    ("variants", "count"),
    [
        *(("", 60_965_224), ("source", 60_965_224), ("no_lrn,bf16", 60_965_224), ("owt", 61_100_840)),
        ("silent_towers", 60_714_408),  # experiment #150 of the authors' code
    ],
)
def test_parameters(variants, count):
    assert parameters(shapes_of(f"alexnet.py:{variants}")[0]) == count


def test_one_tower_halves_only_conv1_to_conv4():
    net, config = shapes_of("alexnet.py:one_tower")
    assert config.net.towers == 1
    assert [net[f"conv{i}"].outputs[-1] for i in range(1, 6)] == [48, 128, 192, 192, 256]
    assert [net[n].outputs for n in ("fc6", "fc7")] == [(4096,), (4096,)]


def test_source_has_the_differences_of_the_authors_code():
    net, config = shapes_of("alexnet.py:source")
    order = list(net)
    assert order[:4] == ["conv1", "norm1", "pool1", "relu1"]
    assert order[order.index("norm2") : order.index("norm2") + 3] == ["norm2", "map_norm2", "pool2"]
    assert net["norm1"].layer.divide_alpha
    assert net["norm2"].layer.divide_alpha
    assert [net[f"conv{i}"].layer.std for i in range(1, 6)] == [0.01, 0.01, 0.03, 0.03, 0.03]
    assert (config.optimizer.bias_learning_rate, config.optimizer.bias_weight_decay) == (0.02, 0)
    assert (config.schedule.boundaries, config.num_epochs) == ((25, 51, 79), 91)
    assert config.optimizer.layers.conv1.boundaries[-1] == 67
    assert config.optimizer.layers.conv1.frozen_epochs == 72
    assert (config.data.color_noise_epochs, config.data.shrink_by_noise) == (67, True)
    assert (config.data.images_per_crop, config.data.reshuffle) == (32, False)


def test_no_lrn_removes_every_normalization_from_source():
    net, _ = shapes_of("alexnet.py:source,no_lrn")
    assert not [t for t in net.values() if isinstance(t.layer, LRN | MapNorm)]


def test_locally_connected_networks_of_section_3_3():
    """cuda-convnet's `layers-conv-local-13pct.cfg` and `-11pct.cfg`."""
    (net13, config13), (net11, config11) = shapes_of("cifar10.py:local13"), shapes_of("cifar10.py:local11")
    for net, features in ((net13, 32), (net11, 64)):
        assert [net[n].outputs[0] for n in ("conv1", "pool1", "pool2", "local4")] == [24, 12, 6, 6]
        # A kernel of 3x3 and a bias for each of 6x6 positions and each channel.
        assert net["local3"].params == {"kernel": (1, 6, 6, 9 * 64, features), "bias": (1, 6, 6, features)}
        assert net["local3"].weights.fan_in == 9 * 64
        assert net["local4"].params["kernel"] == (1, 6, 6, 9 * features, 32)
    assert [n for n in net11 if n not in net13] == ["norm1", "norm2"]
    assert list(net11)[2:4] == ["pool1", "norm1"]  # after the first pool
    assert list(net11)[6:8] == ["norm2", "pool2"]  # and before the second
    decays = [c.optimizer.layers.to_dict() for c in (config13, config11)]
    assert [d["fc10"]["weight_decay"] for d in decays] == [0.004, 0.01]
    assert [d["local3"]["weight_decay"] for d in decays] == [0.004, 0.004]
    assert (config11.optimizer.weight_decay, config11.optimizer.bias_learning_rate) == (0, 0.002)


@pytest.mark.parametrize(("variant", "last"), [("quick", 64), ("lrn18", 4 * 4 * 64)])
def test_cifar_pools_reach_over_the_edge(variant, last):
    net, _ = shapes_of(f"cifar10.py:{variant}")
    assert [net[f"pool{i}"].outputs[0] for i in (1, 2, 3)] == [16, 8, 4]
    assert net["fc10"].params["kernel"] == (1, last, 10)


def test_digits_has_every_layer_type_of_alexnet():
    digits, config = shapes_of("digits.py")
    alexnet, _ = shapes_of("alexnet.py")
    assert config.net.towers == 2
    assert {type(t.layer) for t in digits.values()} >= {type(t.layer) for t in alexnet.values()}
    assert {t.layer.reads for t in digits.values() if isinstance(t.layer, Conv | Dense)} == {"own", "all"}


def test_layers_survive_json():
    config = get_config(f"{CONFIGS}/alexnet.py:source")
    assert from_json(to_json(config.net.layers)) == config.net.layers
    assert to_json(config.net.layers)[0]["type"] == "Conv"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"maps": 6}, r"^net.layers: conv1.maps is called features now$"),
        ({"type": "Convolution"}, "^net.layers: conv1 has the unknown type Convolution$"),
        ({"groups": 2}, "^net.layers: conv1 has the unknown field groups$"),
    ],
)
def test_layers_of_another_version_are_refused_in_one_line(changes, message):
    (layer,) = to_json([Conv("conv1", features=6, kernel=3)])
    if "maps" in changes:
        del layer["features"]
    with pytest.raises(UserError, match=message):
        from_json([layer | changes])


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((Conv("a", 2, 3), Conv("a", 2, 3), Classifier("b", 2)), "two layers are named a"),
        ((Conv("a", 0, 3), Classifier("b", 2)), "a.features is 0, but must be a positive whole number"),
        ((Conv("a", 2, 3, std=float("nan")), Classifier("b", 2)), "a.std is nan"),
        ((Conv("a", 2, 3, reads="both"), Classifier("b", 2)), "a.reads is both, but must be own or all"),
        ((Conv("a", 2, 3, padding=(-1, 0)), Classifier("b", 2)), r"a.padding is \(-1, 0\)"),
        ((Local("a", 2, 9), Classifier("b", 2)), "a has a window of 9"),
        ((Dense("a", 2), Local("b", 2, 3), Classifier("c", 2)), "b needs feature maps"),
        ((Dropout("a", rate=1.0), Classifier("b", 2)), "a.rate is 1.0"),
        ((Conv("a", 2, 9), Classifier("b", 2)), "a has a window of 9"),
        ((MaxPool("a", 9, 2), Classifier("b", 2)), "a has a window of 9"),
        ((Dense("a", 2), AvgPool("b"), Classifier("c", 2)), "b needs feature maps"),
        ((Dense("a", 2), ReLU("b")), "must be a Classifier"),
        ((Classifier("a", 2), ReLU("b")), "comes after the classifier"),
    ],
)
def test_wrong_layers_are_refused(layers, message):
    with pytest.raises(UserError, match=message):
        layer_shapes(layers, 2, (8, 8, 3))
