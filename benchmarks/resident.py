"""A recipe with random images that stay on the devices, for benchmarks that do not time the data."""

import argparse
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict
from options import parser

from alexnet_jax import build, get_config
from alexnet_jax.data.augment import Statistics, statistics
from alexnet_jax.net.model import Net
from alexnet_jax.parallel.axes import DATA
from alexnet_jax.parallel.mesh import mesh_for
from alexnet_jax.parallel.placement import on_devices
from alexnet_jax.training import step
from alexnet_jax.training.state import TrainState, new_state


def options(doc: str | None) -> argparse.ArgumentParser:
    """Make a parser with the options that determine what is on the devices."""
    made = parser(doc, "alexnet.py")
    made.add_argument("--batch_size", type=int, default=128)
    made.add_argument("--mesh", default="-1,-1", help="data,tower")
    return made


def recipe(args: argparse.Namespace) -> ConfigDict:
    """Return the config that the options describe."""
    config = get_config(args.config)
    config.batch_size = args.batch_size
    config.mesh = tuple(int(n) for n in args.mesh.split(","))
    return config


class Resident(NamedTuple):
    """A network, its state and a batch on the devices. ``which`` is a line that describes the mesh."""

    model: Net
    mesh: Mesh
    which: str
    state: TrainState
    images: jax.Array
    labels: jax.Array
    stats: Statistics


def resident(config: ConfigDict) -> Resident:
    mesh, which = mesh_for(config)
    model = build(config)
    classes, size = config.net.layers[-1].classes, config.data.image_size
    draws = np.random.default_rng(0)
    images_BxHxWx3 = draws.integers(0, 256, (config.batch_size, size, size, 3), dtype=np.uint8)
    labels_B = draws.integers(0, classes, config.batch_size, dtype=np.int32)
    images, labels = on_devices((images_BxHxWx3, labels_B), mesh, DATA)
    mean = np.full((size, size, 3), 128.0)
    stats = on_devices(statistics(mean, 1000 * np.eye(3), config.data.color_noise_reading), mesh)
    return Resident(model, mesh, which, new_state(model, config, mesh), images, labels, stats)


def resident_step(config: ConfigDict) -> tuple[jax.stages.Lowered, tuple[Any, ...], str]:
    """Return the training step, its arguments (first the state), and a line that describes the mesh."""
    model, mesh, which, state, images, labels, stats = resident(config)
    arguments = (state, images, labels, on_devices(np.int32(0), mesh), stats)
    return step.train_step(model, config, mesh, steps_per_epoch=1).lower(*arguments), arguments, which
