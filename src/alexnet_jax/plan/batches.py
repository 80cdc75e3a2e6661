"""Larger batches on one mesh: what they take, and from which size on the recipe should change."""

from collections.abc import Sequence

import jax
from ml_collections import ConfigDict

from alexnet_jax.parallel.axes import DATA, TOWER
from alexnet_jax.parallel.mesh import make_mesh
from alexnet_jax.plan.plan import Plan, plan
from alexnet_jax.runtime.chips import Chip

LARGEST = 32_768
"""The largest batch that is planned: the largest of You, Gitman and Ginsburg (2017) for AlexNet."""

PLAIN = 1_024
"""The largest batch to which AlexNet was scaled without LARS (You, Gitman and Ginsburg 2017)."""


def larger_batches(
    config: ConfigDict, topology: str, chip: Chip | None, devices: Sequence[jax.Device], best: Plan
) -> list[Plan]:
    """Plan batches of 4, 16, 64 ... times the size on the mesh of a plan, up to `LARGEST` or the memory.

    The first of the plans is the given one. The last one may not fit.
    """
    plans = [best]
    mesh = make_mesh(best.mesh[DATA], best.mesh[TOWER], devices)
    config = config.copy_and_resolve_references()
    config.parallelism = best.parallelism
    while plans[-1].fits is not False and (size := 4 * plans[-1].global_batch) <= LARGEST:
        config.batch_size = size
        plans.append(plan(config, topology, chip, mesh))
    return plans


def needed_recipe(optimizer: str, batch_size: int) -> str:
    """Return how a recipe should change for a batch: its variants, or nothing if it need not."""
    return "" if batch_size <= PLAIN or optimizer == "lars" else "batch_norm,lars"
