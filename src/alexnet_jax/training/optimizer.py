"""The update of section 5, built from optax transformations.

    v <- 0.9 v - decay * rate * w - rate * gradient,    w <- w + v

The learning rate is part of the velocity. This matters when the learning rate changes.

Each array has its own learning rate and weight decay, as in the file ``layer-params.cfg`` of cuda-convnet:
``optimizer.learning_rate`` and ``.weight_decay`` for kernels, ``.bias_learning_rate`` and
``.bias_weight_decay`` for biases. ``optimizer.layers`` overrides them for single layers: ``{"conv1":
{"learning_rate", "bias_learning_rate", "weight_decay", "bias_weight_decay", "boundaries",
"frozen_epochs"}}``. `schedule` describes the last two.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import optax
from ml_collections import ConfigDict

from alexnet_jax.net.shapes import Params

Transform: TypeAlias = optax.GradientTransformationExtraArgs


def optimizer(config: ConfigDict, params: Params) -> Transform:
    """Return the optimizer ``config.optimizer.name`` of `OPTIMIZERS`.

    Its ``update`` takes ``rates``, the learning rate of each array, from `schedule.learning_rates`.

    Args:
      config: the whole config.
      params: the parameters, or any tree of their structure.
    """
    decays = for_each_array(config, params, "weight_decay", "bias_weight_decay")

    def add_decay(updates: Any, params: Any) -> Any:
        return jax.tree.map(lambda decay, u, w: u + decay * w, decays, updates, params)

    def scale(updates: Any, state: optax.OptState, params: Any = None, *, rates: Any) -> Any:
        return jax.tree.map(lambda rate, u: -rate * u, rates, updates), state

    by_rates = optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), scale)
    return OPTIMIZERS[config.optimizer.name](config, optax.stateless(add_decay), by_rates)


def _momentum(config: ConfigDict, decay: Transform, by_rates: Transform) -> Transform:
    """Return the paper's update."""
    return optax.chain(decay, by_rates, optax.trace(config.optimizer.momentum))


OPTIMIZERS: dict[str, Callable[[ConfigDict, Transform, Transform], Transform]] = {"momentum": _momentum}
"""By name: functions of the config, a transform that adds weight decay, and one that scales by the rates."""


def for_each_array(
    config: ConfigDict, params: Params, for_kernel: str, for_bias: str
) -> dict[str, dict[str, float]]:
    """Return a setting for each array: that of its layer, or else the common one.

    Args:
      config: the whole config.
      params: the parameters, or any tree of their structure.
      for_kernel: name of the setting for kernels, in ``config.optimizer``.
      for_bias: name of the setting for biases.
    """
    settings = config.optimizer

    def of(name: str, key: str) -> float:
        return settings.layers.get(name, {}).get(key, settings[key])

    return {
        name: {kind: of(name, for_bias if kind == "bias" else for_kernel) for kind in kinds}
        for name, kinds in params.items()
    }
