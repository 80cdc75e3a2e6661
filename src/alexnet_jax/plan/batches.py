"""Larger batches on one mesh: their memory and time, and the size above which the recipe should change."""

from collections.abc import Sequence

import jax
from ml_collections import ConfigDict

from alexnet_jax.layers import BatchNorm
from alexnet_jax.parallel.axes import DATA, TOWER
from alexnet_jax.parallel.mesh import make_mesh
from alexnet_jax.plan.plan import Plan, plan, training_examples
from alexnet_jax.runtime.chips import Chip

LARGEST = 32_768
"""The largest batch that is planned: the largest of You, Gitman and Ginsburg (2017) for AlexNet."""

PLAIN = 1_024
"""The largest batch to which AlexNet was scaled without LARS (You, Gitman and Ginsburg 2017)."""


def larger_batches(
    config: ConfigDict, topology: str, chip: Chip | None, devices: Sequence[jax.Device], best: Plan
) -> list[Plan]:
    """Plan batches of 4, 16, 64 ... times the size on the mesh of a plan.

    They end at `LARGEST`, at the number of training examples, or with the first one that does not fit into
    the memory. The first of the plans is the given one.
    """
    plans = [best]
    largest = min(LARGEST, training_examples(config) or LARGEST)
    mesh = make_mesh(best.mesh[DATA], best.mesh[TOWER], devices)
    config = config.copy_and_resolve_references()
    config.parallelism = best.parallelism
    while plans[-1].fits is not False and (size := 4 * plans[-1].global_batch) <= largest:
        config.batch_size = size
        plans.append(plan(config, topology, chip, mesh))
    return plans


def missing_variants(config: ConfigDict, batch_size: int) -> str:
    """Return the variants that a recipe should add for a batch; empty if it need not change."""
    has_norm = any(isinstance(layer, BatchNorm) for layer in config.net.layers)
    lacks = {"batch_norm": not has_norm, "lars": config.optimizer.name != "lars"}
    return ",".join(name for name, missing in lacks.items() if missing and batch_size > PLAIN)
