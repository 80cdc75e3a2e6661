"""The features of windows are those of the network's layers."""

import dataclasses
from functools import partial

import jax
import numpy as np
import pytest

from alexnet_jax import restore
from alexnet_jax.detection.extractor import extractor
from alexnet_jax.errors import RunError
from alexnet_jax.net.model import hidden


def test_features_are_those_of_images_whose_centre_is_the_window(network):
    net = restore(network)
    windows = np.random.default_rng(0).integers(0, 256, (70, 64, 64, 3), np.uint8)
    images = np.pad(windows, [(0, 0), (4, 4), (4, 4), (0, 0)])
    found = extractor(net)(windows)
    assert found.units_NxU.dtype == found.maps_NxM.dtype == np.float16
    for array, layer in ((found.units_NxU, None), (found.maps_NxM, "relu2")):
        expected = net.features(images, layer).reshape(70, -1)
        np.testing.assert_allclose(array, expected, rtol=2e-3, atol=2e-2)
    few = extractor(net)(windows[:3])
    np.testing.assert_allclose(few.units_NxU, found.units_NxU[:3], rtol=2e-3, atol=2e-2)


def test_no_windows_have_no_features(network):
    found = extractor(restore(network))(np.zeros((0, 64, 64, 3), np.uint8))
    assert found.units_NxU.shape == (0, 48)
    assert found.maps_NxM.shape == (0, 5 * 5 * 16)


def test_the_layers_that_both_features_need_are_computed_once(network):
    made = extractor(restore(network))
    images, model, params = np.zeros((16, 64, 64, 3), np.uint8), made.net.model, made.net.params
    both = made._compiled.lower(params, images, made.net.statistics).compile().as_text()
    one = jax.jit(partial(hidden, model)).lower(params, images.astype(np.float32)).compile().as_text()
    assert both.count(" convolution(") == one.count(" convolution(") > 0


def test_other_weights_have_another_identity(network):
    net = restore(network)
    assert extractor(net).identity == extractor(restore(network)).identity
    drawn = extractor(net, random_seed=5)
    assert drawn.identity != extractor(net).identity
    assert drawn.identity == extractor(net, random_seed=5).identity
    assert drawn.identity != extractor(net, random_seed=6).identity


def test_features_that_are_not_finite_end_the_run(network):
    net = restore(network)
    params = jax.tree.map(lambda x: x * np.inf, net.params)
    broken = extractor(dataclasses.replace(net, params=params))
    with pytest.raises(RunError, match="are not finite in float16"):
        broken(np.zeros((1, 64, 64, 3), np.uint8))


def test_the_mean_fills_windows(network):
    assert (extractor(restore(network)).fill == 100).all()
    assert extractor(restore(network)).fill.shape == (64, 64, 3)
