"""Where a net is wrong: one pass over a split, whose memory does not grow with it."""

import dataclasses

import jax
import numpy as np

from alexnet_jax.data.cache import Cache
from alexnet_jax.loops.evaluate import evaluate
from alexnet_jax.training.scores import Result
from alexnet_jax.training.workdir import Restored


@dataclasses.dataclass(frozen=True, eq=False)
class Mistakes:
    """What a net takes for what.

    Attributes:
      result: the error rates, of the same pass.
      confusion: (classes, classes), how many of each class (row) were taken for each class (column).
      unknown: how many were taken for an output of the net that is no class of the data.
      hardest: (mistakes,), which of the split: those whose right class is least probable, the worst first.
      surest: (mistakes,), which of the split: those whose wrong class is most probable, the surest first.
    """

    result: Result
    confusion: np.ndarray
    unknown: int
    hardest: np.ndarray
    surest: np.ndarray

    def pairs(self, most: int) -> list[tuple[int, int, int]]:
        """(right class, taken for, how many) of what is confused most often, the most frequent first."""
        wrong = self.confusion - np.diag(np.diag(self.confusion))
        order = np.argsort(-wrong, axis=None, kind="stable")[:most]
        rows, columns = np.unravel_index(order, wrong.shape)
        return [(int(i), int(j), int(wrong[i, j])) for i, j in zip(rows, columns, strict=True) if wrong[i, j]]


def find(net: Restored, cache: Cache, split: str, views: int, most: int = 12) -> Mistakes:
    """Looks at every image of a split once.

    Args:
      net: from `workdir.restore`, of one process.
      cache: of the images.
      split: ``train``, ``validation`` or ``test``.
      views: of each image, 1 or 10.
      most: mistakes of each kind to keep.

    Raises:
      RunError: a loss that is not finite.
    """
    looking = _Looking(net, cache.labels[split], views, most)
    result = evaluate([looking], cache, split, views, net.config.batch_size, net.mesh)
    unknown = result.examples - int(looking.confusion.sum())
    return Mistakes(result, looking.confusion, unknown, looking.hardest.rows, looking.surest.rows)


class _Looking:
    """A net as `evaluate` takes it, which keeps what it needs of the batches that come by in order."""

    def __init__(self, net: Restored, labels: np.ndarray, views: int, most: int) -> None:
        self._net, self._labels, self._views, self._seen = net, labels, views, 0
        classes = len(net.data.class_names)
        self.confusion = np.zeros((classes, classes), np.int64)
        self.hardest, self.surest = _Lowest(most), _Lowest(most)

    def __call__(self, images_BxHxWx3: jax.Array) -> jax.Array:
        log_probs = self._net.log_probabilities(images_BxHxWx3, views=self._views)
        right_B = self._labels[self._seen :][: len(images_BxHxWx3)]  # the last batch is filled up
        ours_BxC = np.asarray(log_probs)[: len(right_B)]
        guess_B = ours_BxC.argmax(axis=1)
        known = guess_B < len(self.confusion)  # a net may have more outputs than its data
        np.add.at(self.confusion, (right_B[known], guess_B[known]), 1)
        wrong = np.flatnonzero(guess_B != right_B)
        self.hardest.add(self._seen + wrong, ours_BxC[wrong, right_B[wrong]])
        self.surest.add(self._seen + wrong, -ours_BxC[wrong, guess_B[wrong]])
        self._seen += len(right_B)
        return log_probs


class _Lowest:
    """The rows with the lowest values until now, the lowest first; of equal ones the earlier row."""

    def __init__(self, most: int) -> None:
        self.rows, self._values, self._most = np.empty(0, np.int64), np.empty(0, np.float32), most

    def add(self, rows: np.ndarray, values: np.ndarray) -> None:
        rows, values = np.concatenate([self.rows, rows]), np.concatenate([self._values, values])
        order = np.argsort(values, kind="stable")[: self._most]
        self.rows, self._values = rows[order], values[order]
