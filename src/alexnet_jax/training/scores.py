"""From log-probabilities to error rates."""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Result:
    """The error rates of one pass over a split, by the names of ``metrics.jsonl``.

    Attributes:
      split: ``train``, ``validation`` or ``test``.
      views: of each image, 1 or 10.
      examples: how many were counted.
      loss: minus the log of the probability of the right class, in nats, mean.
      top1_error: fraction whose most probable class is wrong.
      top5_error: fraction whose right class is not among the five most probable.
    """

    split: str
    views: int
    examples: int
    loss: float
    top1_error: float
    top5_error: float


def mean_log_probabilities(log_probs_NxBxC: jax.Array, weights_N: Any = None) -> jax.Array:
    """Return the log of the weighted mean of N probabilities: of views, or of an ensemble's members."""
    weights = np.ones(len(log_probs_NxBxC)) if weights_N is None else np.asarray(weights_N)
    shares = (weights / weights.sum()).astype(np.float32)[:, None, None]
    return jax.nn.logsumexp(log_probs_NxBxC, axis=0, b=shares)


@partial(jax.jit, static_argnames="weights")
def score(
    members: Sequence[jax.Array], labels_B: jax.Array, weights: tuple[float, ...] | None = None
) -> dict[str, jax.Array]:
    """Return each example's loss in nats, and whether it is wrong: top 1 and top 5.

    Of equal probabilities the class with the lower number comes first, so that a network that has learned
    nothing is not right by a tie. The host adds up the examples in float64, which is the same on any mesh.

    Args:
      members: log-probabilities of shape (batch, classes), of one network or of several to average.
      labels_B: the classes.
      weights: of the members; equal by default.
    """
    log_probs_BxC = mean_log_probabilities(jnp.stack(members), weights)
    right_B = jnp.take_along_axis(log_probs_BxC, labels_B[:, None], axis=-1)
    classes = jnp.arange(log_probs_BxC.shape[-1])
    tied_before = (log_probs_BxC == right_B) & (classes < labels_B[:, None])
    # "Not less or equal" rather than "greater": NaN counts as wrong.
    rank_B = (~(log_probs_BxC <= right_B) | tied_before).sum(axis=-1)
    return {"loss": -right_B[:, 0], "top1_error": rank_B >= 1, "top5_error": rank_B >= 5}
