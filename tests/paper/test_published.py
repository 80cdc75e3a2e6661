"""The published error rates of a config: those of the same network on the same data, or none."""

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
def test_a_recipe_has_the_published_errors_of_its_network(recipe, expected):
    assert of_config(get_config(recipe)) == expected


def test_the_path_and_the_number_of_classes_are_not_compared():
    config = get_config("alexnet:ilsvrc2010")
    config.data.source = f"folder:/somewhere/{config.data.source.removeprefix('folder:')}"
    *layers, classifier = config.net.layers
    config.net.layers = (*layers, dataclasses.replace(classifier, classes=1000))
    assert of_config(config) == TABLE1["1 CNN"]
    config.data.source = "folder:/somewhere/else"
    assert of_config(config) is None


def test_a_network_that_starts_from_another_has_no_published_errors():
    config = get_config("alexnet")
    config.init_from = "runs/another"
    assert of_config(config) is None
