"""A check that the loss of a run is finite, and that it leaves the loss of guessing."""

import math

from alexnet_jax.errors import RunError


class Watch:
    """A check of every loss of a run.

    Args:
      classes: number of classes in the data.
      steps_per_epoch: number of updates in an epoch.
    """

    def __init__(self, classes: int, steps_per_epoch: int) -> None:
        self._classes, self._guessing = classes, math.log(classes)
        self._limit = min(500, max(100, 5 * steps_per_epoch))

    def guesses(self, step: int, loss: float) -> bool:
        """Return whether a loss is that of guessing.

        Raises:
          RunError: the loss of the update to ``step`` is not finite.
        """
        if not math.isfinite(loss):
            raise RunError(
                f"the loss is {loss} at step {step}; earlier checkpoints are kept: resume with a smaller"
                " --config.optimizer.learning_rate"
            )
        return abs(loss - self._guessing) <= 0.02 * self._guessing

    def warning(self, stuck: int) -> str | None:
        """Return a warning for the user if ``stuck`` has just reached its limit; None otherwise.

        Args:
          stuck: number of updates in a row, up to the last one, whose loss was that of guessing.
        """
        if stuck != self._limit:
            return None
        return (
            f"the loss has stayed at ln({self._classes}) = {self._guessing:.3f}, the loss of guessing, for"
            f" {stuck} steps: the network is not learning yet. If this continues, train from scratch with"
            " other initial values (the recipes alexnet and folder have the variants std03 and small_bias),"
            " or with another --config.optimizer.learning_rate"
        )
