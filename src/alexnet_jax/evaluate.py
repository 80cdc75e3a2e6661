"""Error rates: every example counted exactly once, one net or the average of several."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from alexnet_jax.cache import Cache
from alexnet_jax.errors import RunError
from alexnet_jax.loader import test_batches
from alexnet_jax.step import mean_log_probabilities, score


@dataclasses.dataclass(frozen=True)
class Result:
    """Of one pass over a split; the names are those of ``metrics.jsonl``.

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


def evaluate(
    members: Sequence[Callable[[jax.Array], jax.Array]],
    cache: Cache,
    split: str,
    views: int,
    batch_size: int,
    mesh: Mesh,
) -> Result:
    """Tests one net, or an ensemble whose probabilities are averaged.

    Args:
      members: each from uint8 images to log-probabilities, as in `step.log_probabilities`.
      cache: of the images.
      split: which of them.
      views: that the members look at; for the record.
      batch_size: at a time; any will do.
      mesh: that the members run on.

    Raises:
      RunError: a loss that is not finite.
    """
    examples = cache.info.splits[split]
    sums = {"loss": 0.0, "top1_error": 0.0, "top5_error": 0.0}
    counted = 0
    for images, labels in test_batches(cache, split, batch_size, mesh):
        log_probs = mean_log_probabilities(jnp.stack([member(images) for member in members]))
        scores = jax.device_get(score(log_probs, labels))
        real = min(len(labels), examples - counted)  # the last batch is filled up
        for name, values in scores.items():
            sums[name] += float(values[:real].sum(dtype=np.float64))
        counted += real
    if not math.isfinite(sums["loss"]):
        raise RunError(f"the loss on {split} is {sums['loss']}: the net has diverged")
    return Result(split, views, counted, **{name: total / counted for name, total in sums.items()})
