"""Networks with random weights, to export."""

import dataclasses

import jax
import numpy as np

from alexnet_jax import Restored, apply, build, get_config, init
from alexnet_jax.config import base
from alexnet_jax.data.augment import Statistics, fixed_views, test_view
from alexnet_jax.data.cache import DataInfo
from alexnet_jax.layers import with_classes
from alexnet_jax.parallel.mesh import local_mesh
from tests.conftest import CONFIGS


def network(path, dtype="float32"):
    """Return a network of a shipped recipe with a sixteenth of its channels and units."""
    config = get_config(f"{CONFIGS}/{path}")
    sizes = ("features", "units", "classes")
    layers = with_classes(config.net.layers, 10)
    for size in sizes:
        layers = [
            dataclasses.replace(x, **{size: max(3, getattr(x, size) // 16)}) if hasattr(x, size) else x
            for x in layers
        ]
    config.net.layers, config.dtype = tuple(layers), dtype
    return _with_random_weights(config)


def with_layers(layers, towers):
    """Return a network of these layers for images of 32x32, of which it sees 30x30."""
    config = base()
    config.data.image_size, config.data.crop_size, config.data.pixel_std = 32, 30, 50.0
    config.net.layers, config.net.towers = layers, towers
    return _with_random_weights(config)


def _with_random_weights(config):
    """Return a network whose activations are of the order of the pixels, with a random mean image."""
    config.net.layers = tuple(
        dataclasses.replace(x, std="fan_in") if hasattr(x, "std") else x for x in config.net.layers
    )
    model, size, names = build(config), config.data.image_size, ("a", "b", "c")
    info = DataInfo(
        source="folder:photographs",
        version="1",
        fingerprint="0",
        encoding="raw",
        image_size=(size, size),
        class_names=names,
        class_words=names,
        splits={"train": 10},
        color_covariance=np.eye(3),
        mean_image=np.random.default_rng(1).uniform(90, 160, (size, size, 3)).astype(np.float32),
    )
    params = init(model, jax.random.key(2))
    rng = np.random.default_rng(3)
    for weights in params.values():
        if "kernel" in weights:  # with a variance of 2 / fan-in, ReLU keeps the size of activations
            weights["kernel"] *= np.sqrt(6)
        else:  # a batch normalization
            weights |= {
                kind: rng.uniform(0.5, 1.5, x.shape).astype(np.float32) for kind, x in weights.items()
            }
    return Restored(model, params, config, 7, info, local_mesh(), "no_workdir")


def views(net, images):
    """Return what the network sees of uint8 images at test."""
    statistics = Statistics(net.data.mean_image, np.zeros((3, 3), np.float32))
    (centre,) = fixed_views(*net.data.image_size, net.config.data.crop_size, 1, flip=False)
    return np.asarray(jax.jit(lambda x: test_view(x, centre, statistics, net.config.data))(images))


def logits(net, images):
    """Return the logits of uint8 images, computed as a test of the network computes them."""
    return np.asarray(jax.jit(lambda x: apply(net.model, net.params, x))(views(net, images)))
