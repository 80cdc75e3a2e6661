"""Sums of metrics that a checkpoint keeps, so that a resumed run writes the same log."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Tally:
    """The sums of the metrics since the last line of the log.

    Attributes:
      updates: number of updates since that line.
      loss: sum of their losses.
      top1_error: sum of their errors.
      stuck: number of updates in a row, up to the last one, whose loss was that of guessing.

    Raises:
      ValueError: a value has another type, or is out of range.
    """

    updates: int = 0
    loss: float = 0.0
    top1_error: float = 0.0
    stuck: int = 0

    def __post_init__(self) -> None:
        for name, kind in Tally.__annotations__.items():
            value, low = getattr(self, name), 0 if kind is int else -1e300
            if type(value) not in (int, kind) or not low <= value < 1e300:
                raise ValueError(f"{name} in its tally is not a number that training writes")

    def plus(self, loss: float, top1_error: float, guesses: bool) -> "Tally":
        """Return the tally after another update.

        Args:
          loss: loss of the update.
          top1_error: its error.
          guesses: whether its loss is that of guessing.
        """
        stuck = self.stuck + 1 if guesses else 0
        return Tally(self.updates + 1, self.loss + loss, self.top1_error + top1_error, stuck)
