"""The features of many images in memory, of a network and of the baselines."""

import dataclasses

import jax
import numpy as np
import pytest

from alexnet_jax import UserError, init, restore
from alexnet_jax.data.images import BadImage
from alexnet_jax.loops.activations import Inputs
from alexnet_jax.loops.baselines import matrices
from alexnet_jax.parallel.mesh import data_mesh


@pytest.fixture(scope="module")
def net(trained):
    return restore(trained, mesh=data_mesh())


IMAGES = np.random.default_rng(0).integers(0, 256, (300, 8, 8, 3), np.uint8)
INPUTS = Inputs([str(i) for i in range(300)], "", IMAGES.__getitem__)


def test_features_of_a_network_of_random_weights_and_pixels(net):
    own, random, pixels = matrices(net, INPUTS, "pool1", 10, 3, True, lambda _: None)
    assert [each.name for each in (own, random, pixels)] == ["pool1", "pool1, random weights", "pixels, 8x8"]
    expected = net.features(IMAGES, "pool1", 10).reshape(300, -1)
    np.testing.assert_allclose(own.features, expected, rtol=1e-4, atol=1e-4)
    drawn = dataclasses.replace(net, params=init(net.model, jax.random.key(3)))
    expected = drawn.features(IMAGES, "pool1", 10).reshape(300, -1)
    np.testing.assert_allclose(random.features, expected, rtol=1e-4, atol=1e-4)
    assert np.array_equal(pixels.features, IMAGES.reshape(300, -1))
    assert own.images_per_second > 0
    assert pixels.images_per_second is None


def test_without_baselines_there_is_one(net):
    lines = []
    (own,) = matrices(net, INPUTS, None, 1, 0, False, lines.append)
    assert (own.name, own.features.shape) == ("input of fc8", (300, 32))
    assert lines == ["computing 32 features of each of 300 images: input of fc8"]


def test_an_image_that_cannot_be_read_is_named(net):
    def read(i):
        if i == 277:
            raise BadImage("no image")
        return IMAGES[i]

    with pytest.raises(UserError, match="277 can't be read: no image"):
        list(matrices(net, dataclasses.replace(INPUTS, read=read), None, 1, 0, False, lambda _: None))
