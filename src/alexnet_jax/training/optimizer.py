"""Section 5's update, made of optax's parts, and its learning rates, computed inside the step.

    v <- 0.9 v - decay * rate * w - rate * gradient,    w <- w + v

The learning rate sits inside the velocity, which matters when it changes. Each array has a learning rate and
a weight decay of its own, as in cuda-convnet's ``layer-params.cfg``: ``optimizer.learning_rate`` and
``.weight_decay`` for kernels, ``.bias_learning_rate`` and ``.bias_weight_decay`` for biases.
``optimizer.layers`` overrides them for single layers: ``{"conv1": {"learning_rate", "bias_learning_rate",
"weight_decay", "bias_weight_decay", "boundaries", "frozen_epochs"}}``. There ``boundaries`` (epochs) replaces
the schedule's, and from ``frozen_epochs`` on the layer's learning rates are zero.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from alexnet_jax.net.shapes import Params

Transform: TypeAlias = optax.GradientTransformationExtraArgs


def optimizer(config: ConfigDict, params: Params, steps_per_epoch: int) -> Transform:
    """Return the optimizer ``config.optimizer.name`` of `OPTIMIZERS`.

    Its ``update`` takes ``step`` and ``reductions``, the arguments of `learning_rates`.

    Args:
      config: the whole config.
      params: the parameters, or any tree of their structure.
      steps_per_epoch: updates in an epoch.
    """
    decays = _for_each_array(config, params, "weight_decay", "bias_weight_decay")
    decay_each = [
        optax.add_decayed_weights(decay, mask=jax.tree.map(lambda d, decay=decay: d == decay, decays))
        for decay in sorted({*jax.tree.leaves(decays)} - {0.0})
    ]

    def scale(updates: Any, state: optax.OptState, params: Any = None, *, step: Any, reductions: Any) -> Any:
        rates = learning_rates(config, params, steps_per_epoch, step, reductions)
        return jax.tree.map(lambda rate, u: -rate * u, rates, updates), state

    by_rates = optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), scale)
    return optax.with_extra_args_support(
        OPTIMIZERS[config.optimizer.name](config, optax.chain(*decay_each), by_rates)
    )


def _momentum(config: ConfigDict, decay: Transform, by_rates: Transform) -> Transform:
    """Return the paper's update."""
    return optax.chain(decay, by_rates, optax.trace(config.optimizer.momentum))


OPTIMIZERS: dict[str, Callable[[ConfigDict, Transform, Transform], Transform]] = {"momentum": _momentum}
"""By name: a function of the config, the weight decay of each array, and the scaling by its learning rate."""


def velocity(opt_state: optax.OptState) -> Params | None:
    """Return v, the last change of each parameter; None for an optimizer that does not keep it."""
    v: Params | None = optax.tree.get(opt_state, "trace", None)
    return v


@dataclasses.dataclass(frozen=True)
class Plateau:
    """Reduce the learning rate when the validation error stops improving.

    Attributes:
      best: the lowest top-1 error on the validation split so far, a fraction.
      waited: evaluations since then, or since the last reduction.
      reductions: how often the learning rates were reduced.
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


def learning_rates(
    config: ConfigDict, params: Params, steps_per_epoch: int, step: Any, reductions: Any
) -> dict[str, dict[str, jax.Array]]:
    """Return the learning rate of each array for the update from ``step`` to ``step + 1``.

    Args:
      config: the whole config.
      params: the parameters, or any tree of their structure.
      steps_per_epoch: updates in an epoch.
      step: updates done, a scalar array.
      reductions: `Plateau.reductions`, a scalar array; other schedules ignore it.
    """
    schedule = config.schedule

    def rate(name: str, kind: str, initial: float) -> jax.Array:
        settings = config.optimizer.layers.get(name, {})
        if schedule.name == "constant" or (kind == "bias" and not schedule.scale_biases):
            found = jnp.float32(initial)
        elif schedule.name == "plateau":
            found = _reduced(initial, schedule.factor, schedule.max_reductions, reductions)
        else:
            boundaries = np.array(
                [round(epoch * steps_per_epoch) for epoch in settings.get("boundaries", schedule.boundaries)],
                np.int32,
            )
            found = _reduced(initial, schedule.factor, len(boundaries), jnp.sum(step >= boundaries))
        frozen = settings.get("frozen_epochs")
        return found if frozen is None else jnp.where(step >= round(frozen * steps_per_epoch), 0.0, found)

    initial = _for_each_array(config, params, "learning_rate", "bias_learning_rate")
    return {
        name: {kind: rate(name, kind, value) for kind, value in kinds.items()}
        for name, kinds in initial.items()
    }


def _reduced(initial: float, factor: float, most: int, count: Any) -> jax.Array:
    """Return ``initial * factor ** min(count, most)``, rounded once from float64."""
    return jnp.asarray([initial * factor**i for i in range(most + 1)], jnp.float32)[jnp.minimum(count, most)]


def _for_each_array(
    config: ConfigDict, params: Params, for_kernel: str, for_bias: str
) -> dict[str, dict[str, float]]:
    """Return a setting of each array: its layer's own, or the common one."""
    settings = config.optimizer

    def of(name: str, key: str) -> float:
        return settings.layers.get(name, {}).get(key, settings[key])

    return {
        name: {kind: of(name, for_bias if kind == "bias" else for_kernel) for kind in kinds}
        for name, kinds in params.items()
    }
