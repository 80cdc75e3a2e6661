"""The scores of examples, and their means over a split."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Result:
    """The error rates of one pass over a split. The names are those of ``metrics.jsonl``.

    Attributes:
      split: ``train``, ``validation`` or ``test``.
      views: number of crops of each image, 1 or 10.
      examples: number of images.
      loss: mean of minus the logarithm of the probability of the right class, in nats.
      top1_error: fraction of the images whose most probable class is wrong, from 0 to 1.
      top5_error: fraction of the images whose right class is not among the five most probable ones.
    """

    split: str
    views: int
    examples: int
    loss: float
    top1_error: float
    top5_error: float


def mean_log_probabilities(log_probs_NxBxC: jax.Array) -> jax.Array:
    """Return the logarithm of the mean of N probabilities: of views, or of an ensemble's members."""
    return jax.nn.logsumexp(log_probs_NxBxC, axis=0, b=1 / len(log_probs_NxBxC))


@jax.jit
def score(members: Sequence[jax.Array], labels_B: jax.Array) -> dict[str, jax.Array]:
    """Compute the loss of each example in nats, and whether its top 1 and its top 5 are wrong.

    If probabilities are equal, the class with the lower number comes first. So a network that has learned
    nothing is not right by a tie. The host adds up the scores in float64, so the sums are the same on any
    mesh.

    Args:
      members: log-probabilities of shape (batch, classes), of one network or of several whose
        probabilities are averaged.
      labels_B: the right classes.
    """
    log_probs_BxC = mean_log_probabilities(jnp.stack(members))
    right_B = jnp.take_along_axis(log_probs_BxC, labels_B[:, None], axis=-1)
    classes = jnp.arange(log_probs_BxC.shape[-1])
    tied_before = (log_probs_BxC == right_B) & (classes < labels_B[:, None])
    # "Not less or equal" rather than "greater": a NaN counts as wrong.
    rank_B = (~(log_probs_BxC <= right_B) | tied_before).sum(axis=-1)
    return {"loss": -right_B[:, 0], "top1_error": rank_B >= 1, "top5_error": rank_B >= 5}


@jax.jit
def guesses(members: Sequence[jax.Array]) -> dict[str, jax.Array]:
    """Return the most probable class of each example, and its probability.

    Args:
      members: as in `score`.
    """
    log_probs_BxC = mean_log_probabilities(jnp.stack(members))
    return {"guess": log_probs_BxC.argmax(axis=-1), "probability": jnp.exp(log_probs_BxC.max(axis=-1))}
