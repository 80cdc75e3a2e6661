"""The hardest mistakes of an evaluation: wrong examples with the highest loss, on one process or several."""

import dataclasses

import jax
import numpy as np

from alexnet_jax.parallel import hosts


@dataclasses.dataclass(frozen=True)
class Mistake:
    """An example whose most probable class is wrong.

    Attributes:
      loss: minus the logarithm of the probability of the right class, in nats.
      row: position of the example in the split.
      guess: the most probable class.
      probability: probability of the guess, from 0 to 1.
    """

    loss: float
    row: int
    guess: int
    probability: float


class Hardest:
    """A collector of the mistakes with the highest loss.

    Args:
      most: number of mistakes to keep.
    """

    def __init__(self, most: int) -> None:
        self.most, self._found = most, np.zeros((0, 4))

    def add(self, rows: np.ndarray, loss: np.ndarray, guess: np.ndarray, probability: np.ndarray) -> None:
        """Add mistakes, by the fields of `Mistake`, as arrays of shape (mistakes,)."""
        new = np.stack([loss, rows, guess, probability], axis=1, dtype=np.float64)
        self._found = self._highest(np.concatenate([self._found, new]))

    def gathered(self) -> list[Mistake]:
        """Return the hardest mistakes of all processes, the hardest first. Every process must call this."""
        # A mistake has a loss above 0: its right class is at most as probable as the guess.
        everybody = np.zeros((jax.process_count(), self.most, 4))
        everybody[jax.process_index(), : len(self._found)] = self._found
        found = self._highest(hosts.total(everybody).reshape(-1, 4))
        return [Mistake(loss, int(row), int(guess), p) for loss, row, guess, p in found.tolist() if loss]

    def _highest(self, found: np.ndarray) -> np.ndarray:
        """Return the rows with the highest loss; of equal ones, the first in the split."""
        return found[np.lexsort((found[:, 1], -found[:, 0]))[: self.most]]
