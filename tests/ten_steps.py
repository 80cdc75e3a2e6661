"""Run ten steps of the full program on several meshes, in one process or several, and save the results.

    python -m tests.ten_steps OUT.npz CACHE_DIR RECIPE "(2, 1) towers" "(2, 2) one_weird_trick" ...

Each mesh uses the first devices of every process, the same number of each.
"""

import ast
import sys

import jax
import numpy as np
from jax.experimental import multihost_utils

from alexnet_jax import build, get_config
from alexnet_jax.data.augment import statistics
from alexnet_jax.data.dataset import open_cache
from alexnet_jax.data.loader import training_batches
from alexnet_jax.parallel import hosts
from alexnet_jax.parallel.mesh import make_mesh
from alexnet_jax.parallel.placement import on_devices
from alexnet_jax.training import step
from alexnet_jax.training.state import new_state


class Recorded:
    """Images that record which rows were read."""

    def __init__(self, images):
        self.images, self.shape, self.rows = images, images.shape, []

    def read(self, rows, out):
        self.rows.extend(rows)
        self.images.read(rows, out)


def ten_steps(config, shape, devices=None):
    """Return the losses, the final state as NumPy arrays, and the examples that each process loaded."""
    cache = open_cache(config.data, print)
    recorded = cache.images["train"] = Recorded(cache.images["train"])
    mesh = make_mesh(*shape, devices)
    model = build(config)
    state = new_state(model, config, mesh)
    update = step.train_step(model, config, mesh, steps_per_epoch=80)
    info = cache.info
    stats = on_devices(statistics(info.mean_image, info.color_covariance, "standard_deviation"), mesh)
    reductions = on_devices(np.int32(0), mesh)
    losses = []
    for images, labels in training_batches(cache, config, mesh, 0, 10):
        state, metrics = update(state, images, labels, reductions, stats)
        losses.append(float(metrics["loss"]))
    rows = multihost_utils.process_allgather(np.sort(recorded.rows))
    return np.array(losses), jax.device_get(multihost_utils.process_allgather(state, tiled=True)), rows


def main(out, cache_dir, recipe, *wanted):
    hosts.start()
    found = {}
    for name in wanted:
        shape, parallelism = ast.literal_eval(name.rpartition(" ")[0]), name.rpartition(" ")[2]
        config = get_config(recipe)
        config.data.cache_dir, config.parallelism = cache_dir, parallelism
        each = shape[0] * shape[1] // jax.process_count()
        devices = [d for i in range(jax.process_count()) for d in jax.local_devices(process_index=i)[:each]]
        losses, state, found[f"{name}/rows"] = ten_steps(config, shape, devices)
        found |= {f"{name}/{i}": x for i, x in enumerate([losses, *jax.tree.leaves(state)])}
    if hosts.is_first():
        np.savez(out, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
