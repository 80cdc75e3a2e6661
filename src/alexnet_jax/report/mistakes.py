"""Find the mistakes of a network in one pass over a split, in memory that does not grow with the split."""

import dataclasses

import jax
import numpy as np

from alexnet_jax.data.cache import Cache
from alexnet_jax.loops.evaluate import error_rates, images_at_once
from alexnet_jax.training.restored import Restored
from alexnet_jax.training.scores import Result


@dataclasses.dataclass(frozen=True, eq=False)
class Mistakes:
    """The mistakes of a network on a split.

    Attributes:
      result: error rates of the same pass.
      confusion: (classes, classes), number of images of each class (row) by predicted class (column).
      unknown: number of images whose predicted output is no class of the data.
      hardest: (mistakes,), positions in the split of the mistakes whose right class is least probable, the
        least probable first.
      surest: (mistakes,), positions in the split of the mistakes whose wrong class is most probable, the most
        probable first.
    """

    result: Result
    confusion: np.ndarray
    unknown: int
    hardest: np.ndarray
    surest: np.ndarray

    def pairs(self, most: int) -> list[tuple[int, int, int]]:
        """Return (right class, predicted class, count) of the ``most`` most frequent confusions."""
        wrong = self.confusion - np.diag(np.diag(self.confusion))
        order = np.argsort(-wrong, axis=None, kind="stable")[:most]
        rows, columns = np.unravel_index(order, wrong.shape)
        return [(int(i), int(j), int(wrong[i, j])) for i, j in zip(rows, columns, strict=True) if wrong[i, j]]


def find(net: Restored, cache: Cache, split: str, views: int, most: int = 12) -> Mistakes:
    """Classify every image of a split once.

    Args:
      net: network from `restore`, in a single process.
      cache: images of the data set.
      split: ``train``, ``validation`` or ``test``.
      views: number of crops of each image, 1 or 10.
      most: number of mistakes of each kind to keep.

    Raises:
      RunError: the loss is not finite.
    """
    recorder = _Recorder(net, cache.labels[split], views, most)
    result = error_rates([recorder], cache, split, views, images_at_once(net.config), net.mesh)
    unknown = result.examples - int(recorder.confusion.sum())
    return Mistakes(result, recorder.confusion, unknown, recorder.hardest.rows, recorder.surest.rows)


class _Recorder:
    """A network for `error_rates` that records the mistakes of each batch. Batches must be in order."""

    def __init__(self, net: Restored, labels: np.ndarray, views: int, most: int) -> None:
        self._net, self._labels, self._views, self._seen = net, labels, views, 0
        classes = len(net.data.class_names)
        self.confusion = np.zeros((classes, classes), np.int64)
        self.hardest, self.surest = _Lowest(most), _Lowest(most)

    def __call__(self, images_BxHxWx3: jax.Array) -> jax.Array:
        log_probs = self._net.log_probabilities(images_BxHxWx3, views=self._views)
        right_B = self._labels[self._seen :][: len(images_BxHxWx3)]  # the last batch is padded
        ours_BxC = np.asarray(log_probs)[: len(right_B)]
        guess_B = ours_BxC.argmax(axis=1)
        known = guess_B < len(self.confusion)  # a network may have more outputs than classes
        np.add.at(self.confusion, (right_B[known], guess_B[known]), 1)
        wrong = np.flatnonzero(guess_B != right_B)
        self.hardest.add(self._seen + wrong, ours_BxC[wrong, right_B[wrong]])
        self.surest.add(self._seen + wrong, -ours_BxC[wrong, guess_B[wrong]])
        self._seen += len(right_B)
        return log_probs


class _Lowest:
    """The rows with the lowest values so far, the lowest first; equal values keep the order of the rows."""

    def __init__(self, most: int) -> None:
        self.rows, self._values, self._most = np.empty(0, np.int64), np.empty(0, np.float32), most

    def add(self, rows: np.ndarray, values: np.ndarray) -> None:
        rows, values = np.concatenate([self.rows, rows]), np.concatenate([self._values, values])
        order = np.argsort(values, kind="stable")[: self._most]
        self.rows, self._values = rows[order], values[order]
