"""Networks with random weights, to export."""

import dataclasses

import jax
import numpy as np

from alexnet_jax import Restored, apply, build, get_config, init
from alexnet_jax.data.augment import Statistics, fixed_views, test_view
from alexnet_jax.data.cache import DataInfo
from alexnet_jax.layers import with_classes
from alexnet_jax.parallel.mesh import local_mesh
from tests.conftest import CONFIGS


def small(layers):
    """Return layers with a sixteenth of the channels and units, whose outputs are of the order of 1."""
    changed = []
    for layer in with_classes(layers, 10):
        fields = {"std": "fan_in"} if hasattr(layer, "std") else {}
        for size in ("features", "units", "classes"):
            if hasattr(layer, size):
                fields[size] = max(3, getattr(layer, size) // 16)
        changed.append(dataclasses.replace(layer, **fields))
    return tuple(changed)


def network(path, dtype="float32"):
    """Return a network of a shipped recipe, small, with random weights and a random mean image."""
    config = get_config(f"{CONFIGS}/{path}")
    config.net.layers, config.dtype = small(config.net.layers), dtype
    model, size = build(config), config.data.image_size
    names = ("a", "b", "c")
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
    return Restored(model, params, config, 7, info, local_mesh(), "no_workdir")


def views(net, images):
    """Return what the network sees of uint8 images at test."""
    statistics = Statistics(net.data.mean_image, np.zeros((3, 3), np.float32))
    (centre,) = fixed_views(*net.data.image_size, net.config.data.crop_size, 1, flip=False)
    return np.asarray(jax.jit(lambda x: test_view(x, centre, statistics, net.config.data))(images))


def logits(net, images):
    """Return the logits of uint8 images, computed as a test of the network computes them."""
    return np.asarray(jax.jit(lambda x: apply(net.model, net.params, x))(views(net, images)))
