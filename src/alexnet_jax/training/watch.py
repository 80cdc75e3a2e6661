"""A check that the loss of a run is finite, and that it leaves the loss of guessing."""

import math
from collections import deque

from alexnet_jax.errors import RunError


class Watch:
    """A check of every loss of a run.

    Args:
      classes: number of classes in the data.
      steps_per_epoch: number of updates in an epoch.
    """

    def __init__(self, classes: int, steps_per_epoch: int) -> None:
        self._classes = classes
        self._recent: deque[float] = deque(maxlen=min(500, max(100, 5 * steps_per_epoch)))
        self._warned = False

    def see(self, step: int, loss: float) -> str | None:
        """Check a loss, and return a warning for the user, once in a run, or None.

        Raises:
          RunError: the loss of the update to ``step`` is not finite.
        """
        if not math.isfinite(loss):
            raise RunError(
                f"the loss is {loss} at step {step}; earlier checkpoints are kept: resume with a smaller"
                " --config.optimizer.learning_rate"
            )
        self._recent.append(loss)
        guessing = math.log(self._classes)
        full = len(self._recent) == self._recent.maxlen
        if self._warned or not full or any(abs(x - guessing) > 0.02 * guessing for x in self._recent):
            return None
        self._warned = True
        return (
            f"the loss has stayed at ln({self._classes}) = {guessing:.3f}, the loss of guessing, for"
            f" {len(self._recent)} steps: the network is not learning yet. If this continues, train from"
            " scratch with other initial values (the recipes alexnet and folder have the variants std03 and"
            " small_bias), or with another --config.optimizer.learning_rate"
        )
