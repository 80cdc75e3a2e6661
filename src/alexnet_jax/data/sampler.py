"""The sampler, a pure function of (seed, step). The step is its only state.

An epoch has ``examples // batch_size`` steps. The examples left over are not seen in that epoch.
"""

import functools

import numpy as np


@functools.lru_cache(maxsize=2)
def permutation(examples: int, seed: int, epoch: int = 0) -> np.ndarray:
    """Shuffle the numbers below ``examples``, always in the same way for the same (seed, epoch).

    They are sorted by the raw output of a Philox generator, which NumPy promises never to change. NumPy's
    own `permutation` carries no such promise.
    """
    draws = np.random.Philox(key=np.array([seed, epoch], np.uint64)).random_raw(examples)
    rows = np.argsort(draws, kind="stable")
    rows.flags.writeable = False
    return rows


def batch_rows(examples: int, batch_size: int, seed: int, step: int, reshuffle: bool = True) -> np.ndarray:
    """Return the examples in the batch of the update from ``step`` to ``step + 1``.

    Args:
      examples: number of examples in the training set.
      batch_size: number of examples in a batch, over all hosts.
      seed: seed of the run.
      step: number of updates done.
      reshuffle: whether to shuffle each epoch differently; if false, every epoch has the order of the first.
    """
    epoch, batch = divmod(step, examples // batch_size)
    rows = permutation(examples, seed, epoch if reshuffle else 0)
    return rows[batch * batch_size : (batch + 1) * batch_size]
