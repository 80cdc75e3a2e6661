"""How the net learns: section 5's update from optax's parts, and the schedules of its rates.

    v <- 0.9 v - decay * rate * w - rate * gradient,    w <- w + v

The rate sits inside the velocity. Each array has a rate and a decay of its own, as in
cuda-convnet's ``layer-params.cfg``: ``learning.rate`` and ``.weight_decay`` for kernels,
``.bias_rate`` and ``.bias_decay`` for biases, and for single layers ``learning.layers``:
``{"conv1": {"rate", "bias_rate", "weight_decay", "bias_decay", "cuts", "frozen_epochs"}}``, where
``cuts`` (epochs) replaces the schedule's and from ``frozen_epochs`` on the layer's rates are zero.
"""

import dataclasses
from typing import Any

import jax
import optax
from ml_collections import ConfigDict

from alexnet_jax.net.model import Params


def optimizer(learning: ConfigDict, params: Params) -> optax.GradientTransformationExtraArgs:
    """The paper's update. Its ``update`` takes ``rates``, a number for each array, as in `rates`.

    Args:
      learning: ``config.learning``.
      params: the parameters, or anything of their tree.
    """
    decays = _for_each_array(learning, params, "weight_decay", "bias_decay")
    decay_each = [
        optax.add_decayed_weights(decay, mask=jax.tree.map(lambda d, decay=decay: d == decay, decays))
        for decay in sorted({*jax.tree.leaves(decays)} - {0.0})
    ]
    return optax.chain(*decay_each, _scale_by_rates(), optax.trace(learning.momentum))


def _scale_by_rates() -> optax.GradientTransformationExtraArgs:
    """Minus each array's rate times its update; what is new in every step can't be fixed in the chain."""

    def update(updates: Any, state: optax.OptState, params: Any = None, *, rates: Any, **_: Any) -> Any:
        del params
        return jax.tree.map(lambda rate, u: -rate * u, rates, updates), state

    return optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), update)


def velocity(opt_state: optax.OptState) -> Params:
    """v, of the parameters' tree: the last change of each array."""
    return optax.tree.get(opt_state, "trace")


def with_velocity(opt_state: optax.OptState, v: Params) -> optax.OptState:
    """The optimizer's state with another v; v is all that it remembers."""
    return optax.tree.set(opt_state, trace=v)


@dataclasses.dataclass(frozen=True)
class Plateau:
    """What the plateau schedule remembers.

    Attributes:
      best: the lowest top-1 error on the validation split (a fraction) since the start.
      waited: evaluations since then, or since the last cut.
      cuts: how often the rates were divided.
    """

    best: float = 1.0
    waited: int = 0
    cuts: int = 0

    def after(self, error: float, learning: ConfigDict) -> "Plateau":
        """The state after an evaluation that found ``error``."""
        if error < self.best - learning.min_improvement:
            return dataclasses.replace(self, best=error, waited=0)
        if self.waited + 1 >= learning.patience and self.cuts < learning.max_cuts:
            return dataclasses.replace(self, waited=0, cuts=self.cuts + 1)
        return dataclasses.replace(self, waited=self.waited + 1)

    def ended(self, learning: ConfigDict) -> bool:
        """Whether the last cut is done and the error has stopped improving again."""
        spent = self.cuts >= learning.max_cuts and self.waited >= learning.patience
        return bool(learning.schedule == "plateau" and spent)


def rates(
    learning: ConfigDict, params: Params, step: int, steps_per_epoch: int, plateau: Plateau
) -> dict[str, dict[str, float]]:
    """Each array's learning rate for the update from ``step`` to ``step + 1``.

    Args:
      learning: ``config.learning``.
      params: the parameters, or anything of their tree.
      step: updates done.
      steps_per_epoch: updates in an epoch.
      plateau: what that schedule has seen; the others don't look at it.
    """

    def cuts_done(name: str) -> int:
        epochs = learning.layers.get(name, {}).get("cuts", learning.cuts)
        by_epoch = sum(step >= round(epoch * steps_per_epoch) for epoch in epochs)
        return {"steps": by_epoch, "plateau": plateau.cuts, "constant": 0}[learning.schedule]

    def scale(name: str, kind: str) -> float:
        frozen = learning.layers.get(name, {}).get("frozen_epochs")
        if frozen is not None and step >= round(frozen * steps_per_epoch):
            return 0.0
        return learning.factor ** cuts_done(name) if kind == "kernel" or learning.cuts_biases else 1.0

    initial = _for_each_array(learning, params, "rate", "bias_rate")
    return {
        name: {kind: rate * scale(name, kind) for kind, rate in kinds.items()}
        for name, kinds in initial.items()
    }


def turns(learning: ConfigDict, steps_per_epoch: int) -> frozenset[int]:
    """The steps at which `rates` may be others than before; the plateau schedule has its own."""
    epochs = [*learning.cuts]
    for settings in learning.layers.values():
        epochs += settings.get("cuts", ())
        if settings.get("frozen_epochs") is not None:
            epochs.append(settings.frozen_epochs)
    return frozenset(round(epoch * steps_per_epoch) for epoch in epochs)


def _for_each_array(
    learning: ConfigDict, params: Params, for_kernel: str, for_bias: str
) -> dict[str, dict[str, float]]:
    """A setting of each array: its layer's own, or the one for all."""
    key_of = {"kernel": for_kernel, "bias": for_bias}
    return {
        name: {
            kind: learning.layers.get(name, {}).get(key_of[kind], learning[key_of[kind]]) for kind in kinds
        }
        for name, kinds in params.items()
    }
