"""The networks and settings of the ablations."""

import ast
import re

import numpy as np
import pytest

from alexnet_jax import UserError, get_config
from alexnet_jax.config.recipe import recipes
from alexnet_jax.layers import LRN, Dropout, MaxPool, ReLU, Tanh
from alexnet_jax.net.shapes import config_shapes, layer_shapes
from alexnet_jax.sweep.spec import load
from alexnet_jax.variants import ABLATIONS
from tests.conftest import CONFIGS

ABLATION_NAMES = {change.__name__ for change in ABLATIONS}


def layers(path):
    return {layer.name: layer for layer in get_config(f"{CONFIGS}/{path}").net.layers}


def outputs(path):
    config = get_config(f"{CONFIGS}/{path}")
    return {t.layer.name: t.outputs for t in config_shapes(config)}


@pytest.mark.parametrize("recipe", ["cifar10.py:towers,", "alexnet.py:source,"])
@pytest.mark.parametrize("ablation", sorted(ABLATION_NAMES))
def test_the_layers_of_every_ablation_fit(recipe, ablation):
    assert list(outputs(recipe + ablation))[-1] == "fc8"


PAPER_COUNT = 60_965_224
CONV4, CONV5, CONV6 = (2 * own * (9 * reads + 1) for own, reads in ((192, 192), (128, 192), (128, 256)))


@pytest.mark.parametrize(
    ("ablation", "parameters"),
    [
        *((name, PAPER_COUNT) for name in ("no_lrn", "pool2", "no_color", "no_crops")),
        *((name, PAPER_COUNT) for name in ("no_dropout", "no_decay", "tanh")),
        ("one_tower", 59_798_312),
        ("silent_towers", 60_714_408),  # experiment #150 of the authors' code has the same count
        ("sixth_conv", PAPER_COUNT + CONV6),
        ("without_conv3", PAPER_COUNT - CONV4),  # conv4 reads both towers' conv2, as conv3 did
        ("without_conv4", PAPER_COUNT - CONV4),
        ("without_conv5", PAPER_COUNT - CONV5 + 4096 * 6 * 6 * 2 * (192 - 128)),  # fc6 reads conv4
    ],
)
def test_parameters_of_every_ablation(ablation, parameters):
    config = get_config(f"{CONFIGS}/alexnet.py:{ablation}")
    shapes = layer_shapes(config.net.layers, config.net.towers, (224, 224, 3))
    assert sum(int(np.prod(shape)) for layer in shapes for shape in layer.params.values()) == parameters


@pytest.mark.parametrize("recipe", ["alexnet.py:", "cifar10.py:towers,"])
def test_pools_that_do_not_overlap_make_outputs_of_the_same_size(recipe):
    """Section 3.4: "an output of equivalent dimensions"."""
    before, after = outputs(recipe), outputs(f"{recipe}pool2")
    assert {layer.window for layer in layers(f"{recipe}pool2").values() if isinstance(layer, MaxPool)} == {2}
    assert after == before


def test_silent_towers_meet_only_at_the_classifier():
    net = layers("alexnet.py:silent_towers")
    assert {getattr(layer, "reads", "own") for layer in net.values()} == {"own"}
    assert (net["conv2"].features, net["fc6"].units, net["fc7"].units) == (160, 4096, 2048)


@pytest.mark.parametrize("which", [3, 4, 5])
def test_removing_a_convolution(which):
    net = layers(f"alexnet.py:without_conv{which}")
    assert set(layers("alexnet.py:")) - set(net) == {f"conv{which}", f"relu{which}"}
    assert next(name for name in net if getattr(net[name], "reads", "own") == "all") == (
        "conv4" if which == 3 else "conv3"
    )  # the towers still communicate before the dense layers


def test_tanh_replaces_every_relu():
    net, paper = layers("alexnet.py:tanh"), layers("alexnet.py:")
    assert not [x for x in net.values() if isinstance(x, ReLU)]
    positions = [isinstance(x, Tanh) for x in net.values()]
    assert positions == [isinstance(x, ReLU) for x in paper.values()]


def test_the_sixth_convolution_reads_the_last_pool_of_both_towers():
    net = layers("alexnet.py:sixth_conv")
    names = list(net)
    assert names[names.index("pool5") : names.index("fc6")] == ["pool5", "conv6", "relu6c"]
    assert (net["conv6"].features, net["conv6"].kernel, net["conv6"].reads) == (128, 3, "all")
    assert outputs("alexnet.py:sixth_conv")["conv6"] == (6, 6, 128)


def test_ablations_remove_layers_and_settings():
    assert not [x for x in layers("cifar10.py:towers,no_lrn").values() if isinstance(x, LRN)]
    assert not [x for x in layers("cifar10.py:towers,no_dropout").values() if isinstance(x, Dropout)]
    assert get_config(f"{CONFIGS}/cifar10.py:towers,no_color").data.color_noise == 0
    optimizer = get_config(f"{CONFIGS}/cifar10.py:towers,no_decay").optimizer
    assert (optimizer.weight_decay, optimizer.bias_weight_decay) == (0, 0)
    crops = get_config(f"{CONFIGS}/cifar10.py:towers,no_crops").data
    assert (crops.random_crops, crops.flip) == (False, True)  # ten views at test, as for the others


@pytest.mark.parametrize("recipe", ["alexnet.py:", "cifar10.py:towers,"])
def test_batch256_doubles_the_batch_size_and_the_learning_rates(recipe):
    one, two = (get_config(f"{CONFIGS}/{recipe}{name}") for name in ("", "batch256"))
    assert (one.batch_size, two.batch_size) == (128, 256)
    np.testing.assert_allclose(
        [two.optimizer.learning_rate, two.optimizer.bias_learning_rate],
        [2 * one.optimizer.learning_rate, 2 * one.optimizer.bias_learning_rate],
    )


def test_batch256_doubles_the_learning_rates_of_single_layers():
    one, two = (get_config(f"{CONFIGS}/alexnet.py:fine_tune{name}").optimizer for name in ("", ",batch256"))
    assert (two.learning_rate, two.bias_learning_rate) == (0.002, 0.002)
    for layer in ("conv1", "fc8"):
        for key in ("learning_rate", "bias_learning_rate"):
            assert two.layers[layer][key] == 2 * one.layers[layer][key]
        assert two.layers[layer].boundaries == one.layers[layer].boundaries


@pytest.mark.parametrize(
    "variants",
    [
        *("alexnet.py:owt,no_lrn", "alexnet.py:silent_towers,one_tower", "cifar10.py:quick,pool2"),
        *("cifar10.py:pool2", "cifar10.py:quick,lrn18", "cifar10.py:local13,no_lrn"),
        "alexnet.py:without_conv3,without_conv4",
    ],
)
def test_variants_that_contradict_each_other_are_refused(variants):
    with pytest.raises(UserError, match="contradict each other"):
        get_config(f"{CONFIGS}/{variants}")


@pytest.mark.parametrize("recipe", ["alexnet", "cifar10"])
def test_the_docstring_of_a_recipe_describes_its_variants(recipe):
    (variants,) = (set(found.variants) for found in recipes() if found.name == recipe)
    text = ast.get_docstring(ast.parse((CONFIGS / f"{recipe}.py").read_text()))
    described = re.findall(r"^(\w+(?:, \w+)*): ", text, re.MULTILINE)
    assert {name for names in described for name in names.split(", ")} == variants - ABLATION_NAMES


def test_a_sweep_trains_every_ablation():
    """The sixth convolution is not in this sweep: configs/transfer.py trains it."""
    members = {member.name for member in load(f"{CONFIGS}/ablations.py:cifar10").members}
    assert members == {"whole", "batch256", *ABLATION_NAMES} - {"sixth_conv"}
