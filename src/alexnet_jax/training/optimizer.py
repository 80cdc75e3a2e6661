"""The update of section 5, and others for large batches, built from optax transformations.

    v <- 0.9 v - decay * rate * w - rate * gradient,    w <- w + v

The learning rate is part of the velocity. This matters when the learning rate changes.

Each array has its own learning rate and weight decay, as in the file ``layer-params.cfg`` of cuda-convnet:
``optimizer.learning_rate`` and ``.weight_decay`` for kernels, ``.bias_learning_rate`` and
``.bias_weight_decay`` for biases. ``optimizer.layers`` overrides them for single layers: ``{"conv1":
{"learning_rate", "bias_learning_rate", "weight_decay", "bias_weight_decay", "boundaries",
"frozen_epochs"}}``. `schedule` describes the last two.

The parameters here are those that are learned, without the running statistics of batch normalization.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax import lax
from ml_collections import ConfigDict

from alexnet_jax.layers import AS_BIASES
from alexnet_jax.net.shapes import Params, config_shapes
from alexnet_jax.parallel.axes import splits_units
from alexnet_jax.parallel.placement import param_specs

Transform: TypeAlias = optax.GradientTransformationExtraArgs


def optimizer(config: ConfigDict, params: Params) -> Transform:
    """Return the optimizer ``config.optimizer.name`` of `OPTIMIZERS`.

    Its ``update`` takes ``rates``, the learning rate of each array, from `schedule.learning_rates`. With LARS
    it runs inside a ``shard_map`` over the mesh.

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


def _adamw(config: ConfigDict, decay: Transform, by_rates: Transform) -> Transform:
    """Return Adam with decoupled weight decay (arXiv 1711.05101). The momentum is its first beta."""
    return optax.chain(optax.scale_by_adam(b1=config.optimizer.momentum), decay, by_rates)


def _lars(config: ConfigDict, decay: Transform, by_rates: Transform) -> Transform:
    """Return LARS (You, Gitman and Ginsburg 2017, arXiv 1708.03888): the paper's update, scaled by layer."""

    def scaled(gradients: Any, state: optax.OptState, params: Any = None, **_: Any) -> Any:
        ratios = trust_ratios(config, gradients, params)
        updates, state = decay.update(gradients, state, params)
        return jax.tree.map(jnp.multiply, ratios, updates), state

    by_trust = optax.GradientTransformationExtraArgs(decay.init, scaled)
    return optax.chain(by_trust, by_rates, optax.trace(config.optimizer.momentum))


OPTIMIZERS: dict[str, Callable[[ConfigDict, Transform, Transform], Transform]] = {
    "momentum": _momentum,
    "lars": _lars,
    "adamw": _adamw,
}
"""By name: functions of the config, a transform that adds weight decay, and one that scales by the rates."""


def trust_ratios(config: ConfigDict, gradients: Params, params: Params) -> Params:
    """Return the factor of LARS for each array: trust |w| / (|gradient| + decay |w|).

    The norms are those of whole arrays, of all towers. The factor is 1 for arrays that use the settings for
    biases, and for a kernel that is zero or has no gradient.
    """
    decays = for_each_array(config, params, "weight_decay", "bias_weight_decay")
    kernels = [(name, kind) for name, kinds in params.items() for kind in kinds if kind not in AS_BIASES]
    specs = param_specs(config_shapes(config), splits_units(config))
    axes = [tuple(filter(None, specs[name][kind])) for name, kind in kernels]
    with jax.named_scope("trust_ratios"):
        weights, of_gradients = (
            _norms([tree[name][kind] for name, kind in kernels], axes) for tree in (params, gradients)
        )
    ratios: Params = jax.tree.map(lambda _: 1.0, decays)
    for (name, kind), weight, gradient in zip(kernels, weights, of_gradients, strict=True):
        ratio = config.optimizer.trust * weight / (gradient + decays[name][kind] * weight)
        ratios[name][kind] = jnp.where((weight > 0) & (gradient > 0), ratio, 1.0)
    return ratios


def _norms(arrays: Sequence[jax.Array], axes: Sequence[tuple[str, ...]]) -> list[jax.Array]:
    """Return the norms of arrays that are split over mesh axes. There is one sum for equal axes.

    Args:
      arrays: the part of each array on this device.
      axes: the mesh axes that split each array.
    """
    norms: dict[int, jax.Array] = {}
    for split in dict.fromkeys(axes):  # in the same order in all processes
        members = [i for i in range(len(arrays)) if axes[i] == split]
        squares = jnp.stack([jnp.sum(jnp.square(arrays[i])) for i in members])
        norms |= zip(members, jnp.sqrt(lax.psum(squares, split)), strict=True)
    return [norms[i] for i in range(len(arrays))]


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
        name: {kind: of(name, for_bias if kind in AS_BIASES else for_kernel) for kind in kinds}
        for name, kinds in params.items()
    }
