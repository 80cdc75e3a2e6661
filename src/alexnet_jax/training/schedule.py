"""The learning rate of each array in each update, and its reduction by the validation error.

In ``optimizer.layers``, the ``boundaries`` of a layer (in epochs) replace those of the schedule. From
``frozen_epochs`` on, the learning rates of a layer are zero.

For large batches, all rates are multiplied by ``batch_size / optimizer.reference_batch_size`` (linear
scaling), and rise from 0 in the first ``schedule.warmup_epochs`` (Goyal et al. 2017, arXiv 1706.02677).
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from alexnet_jax.config.checks import MOST_STEPS
from alexnet_jax.layers import AS_BIASES
from alexnet_jax.net.shapes import Params
from alexnet_jax.training.optimizer import for_each_array


@dataclasses.dataclass(frozen=True)
class Plateau:
    """Reduce the learning rate when the validation error stops improving.

    Attributes:
      best: the lowest top-1 error on the validation split so far, a fraction.
      waited: number of evaluations since ``best`` was reached, or since the last reduction.
      reductions: number of reductions of the learning rates so far.
    """

    best: float = 1.0
    waited: int = 0
    reductions: int = 0

    def after(self, error: float, schedule: ConfigDict) -> "Plateau":
        """Return the state after an evaluation with this top-1 error."""
        if error < self.best - schedule.min_improvement:
            return dataclasses.replace(self, best=error, waited=0)
        if self.waited + 1 >= schedule.patience and self.reductions < schedule.max_reductions:
            return dataclasses.replace(self, waited=0, reductions=self.reductions + 1)
        return dataclasses.replace(self, waited=self.waited + 1)

    def ended(self, schedule: ConfigDict) -> bool:
        """Return whether the error has stopped improving again after the last reduction."""
        spent = self.reductions >= schedule.max_reductions and self.waited >= schedule.patience
        return bool(schedule.name == "plateau" and spent)


def total_steps(config: ConfigDict, steps_per_epoch: float) -> int:
    """Return the number of updates in the whole run of a config."""
    return config.num_steps or min(max(1, round(config.num_epochs * steps_per_epoch)), MOST_STEPS)


def learning_rates(
    config: ConfigDict, params: Params, steps_per_epoch: int, step: Any, reductions: Any
) -> dict[str, dict[str, jax.Array]]:
    """Return the learning rate of each array for the update from ``step`` to ``step + 1``.

    Args:
      config: the whole config.
      params: the parameters that are learned, or any tree of their structure.
      steps_per_epoch: number of updates in an epoch.
      step: number of updates done, a scalar array.
      reductions: `Plateau.reductions`, a scalar array; other schedules ignore it.
    """
    schedule = config.schedule

    def update(epoch: float) -> int:
        return min(round(epoch * steps_per_epoch), MOST_STEPS)

    warmup = update(schedule.warmup_epochs)

    def rate(name: str, kind: str, initial: float) -> jax.Array:
        if config.optimizer.reference_batch_size:
            initial = initial * config.batch_size / config.optimizer.reference_batch_size
        settings = config.optimizer.layers.get(name, {})
        if schedule.name == "constant" or (kind in AS_BIASES and not schedule.scale_biases):
            found = jnp.float32(initial)
        elif schedule.name == "cosine":
            steps = max(1, total_steps(config, steps_per_epoch) - warmup)
            found = optax.cosine_decay_schedule(initial, steps)(jnp.maximum(step - warmup, 0))
        elif schedule.name == "plateau":
            found = _reduced(initial, schedule.factor, schedule.max_reductions, reductions)
        else:
            boundaries = np.array(
                [update(epoch) for epoch in settings.get("boundaries", schedule.boundaries)], np.int32
            )
            found = _reduced(initial, schedule.factor, len(boundaries), jnp.sum(step >= boundaries))
        if warmup:
            found = found * optax.linear_schedule(0.0, 1.0, warmup)(step + 1)
        frozen = settings.get("frozen_epochs")
        return found if frozen is None else jnp.where(step >= update(frozen), 0.0, found)

    initial = for_each_array(config, params, "learning_rate", "bias_learning_rate")
    return {
        name: {kind: rate(name, kind, value) for kind, value in kinds.items()}
        for name, kinds in initial.items()
    }


def _reduced(initial: float, factor: float, most: int, count: Any) -> jax.Array:
    """Return ``initial * factor ** min(count, most)``, rounded once from float64."""
    return jnp.asarray([initial * factor**i for i in range(most + 1)], jnp.float32)[jnp.minimum(count, most)]
