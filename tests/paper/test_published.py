"""The published error rates of a config: those of the same network on the same data, and of no other."""

import dataclasses

import pytest

from alexnet_jax import get_config
from alexnet_jax.paper.published import FALL2009, SECTION33, TABLE1, TABLE2, of_config


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ("alexnet", TABLE2["1 CNN"]),
        ("alexnet:ilsvrc2010", TABLE1["1 CNN"]),
        ("alexnet:sixth_conv,fall2009", FALL2009["1 CNN"]),
        ("cifar10:local11", SECTION33["local11"]),
        ("alexnet:no_lrn", None),
        ("alexnet:sixth_conv", None),
        ("digits", None),
    ],
)
def test_a_recipe_has_the_figures_of_its_own_network(recipe, expected):
    assert of_config(get_config(recipe)) == expected


def test_the_folder_and_the_classes_of_a_workdir_make_no_other_network():
    config = get_config("alexnet:ilsvrc2010")
    config.data.source = f"folder:/somewhere/{config.data.source.removeprefix('folder:')}"
    *layers, classifier = config.net.layers
    config.net.layers = (*layers, dataclasses.replace(classifier, classes=1000))
    assert of_config(config) == TABLE1["1 CNN"]
    config.data.source = "folder:/somewhere/else"
    assert of_config(config) is None


def test_a_network_that_starts_from_another_has_other_figures():
    config = get_config("alexnet")
    config.init_from = "runs/another"
    assert of_config(config) is None
