"""Error rates: every example counted exactly once, one net or the average of several."""

import math
import sys
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from alexnet_jax.data.cache import Cache
from alexnet_jax.data.loader import test_batches
from alexnet_jax.errors import RunError
from alexnet_jax.parallel import hosts
from alexnet_jax.training.scores import Result, score

_COUNTED = ("loss", "top1_error", "top5_error")


def evaluate(
    members: Sequence[Callable[[jax.Array], jax.Array]],
    cache: Cache,
    split: str,
    views: int,
    batch_size: int,
    mesh: Mesh,
    weights: tuple[float, ...] | None = None,
) -> Result:
    """Tests one net, or an ensemble whose probabilities are averaged.

    Args:
      members: each from uint8 images to log-probabilities, as in `step.log_probabilities`.
      cache: of the images.
      split: which of them.
      views: that the members look at; for the record.
      batch_size: at a time; any will do.
      mesh: that the members run on.
      weights: of each member in the average; alike by default.

    Raises:
      RunError: a loss that is not finite.
    """
    left = cache.info.splits[split]
    sums = np.zeros(4)  # examples, loss, top-1 and top-5 errors that this process counted
    batches = test_batches(cache, split, batch_size, mesh)
    quiet = not (hosts.is_first() and sys.stderr.isatty())
    count = -(-left // batch_size)
    for images, labels in tqdm(batches, split, count, leave=False, disable=quiet, dynamic_ncols=True):
        scores = score([member(images) for member in members], labels, weights)
        shards = [[s for s in scores[name].addressable_shards if s.replica_id == 0] for name in _COUNTED]
        for loss, *errors in zip(*shards, strict=True):
            real = max(0, left - (loss.index[0].start or 0))  # the last batch is filled up
            columns = [np.asarray(shard.data)[:real] for shard in (loss, *errors)]
            sums += [len(columns[0]), *(column.sum(dtype=np.float64) for column in columns)]
        left -= len(labels)
    counted, *totals = hosts.total(sums)
    if not math.isfinite(totals[0]):
        raise RunError(f"the loss on {split} is {totals[0]}: the net has diverged")
    means = {name: float(total / counted) for name, total in zip(_COUNTED, totals, strict=True)}
    return Result(split, views, int(counted), **means)
