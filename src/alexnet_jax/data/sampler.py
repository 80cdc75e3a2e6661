"""The order of the data: a pure function of (seed, step), so that the position in it is the step.

An epoch is ``examples // batch_size`` steps; what is left over is in the next epoch's shuffle.
"""

import functools

import numpy as np


@functools.lru_cache(maxsize=2)
def permutation(examples: int, seed: int, epoch: int = 0) -> np.ndarray:
    """The numbers below ``examples`` in the order of (seed, epoch).

    Sorted by the raw output of a Philox generator, which NumPy promises never to change; its
    `permutation` carries no such promise.
    """
    draws = np.random.Philox(key=np.array([seed, epoch], np.uint64)).random_raw(examples)
    order = np.argsort(draws, kind="stable")
    order.flags.writeable = False
    return order


def batch_rows(examples: int, batch_size: int, seed: int, step: int, reshuffle: bool = True) -> np.ndarray:
    """Which examples make the batch of the update from ``step`` to ``step + 1``.

    Args:
      examples: in the training set.
      batch_size: over all hosts.
      seed: of the run.
      step: updates done.
      reshuffle: a new order in every epoch; else the first epoch's for ever.
    """
    epoch, place = divmod(step, examples // batch_size)
    order = permutation(examples, seed, epoch if reshuffle else 0)
    return order[place * batch_size : (place + 1) * batch_size]
