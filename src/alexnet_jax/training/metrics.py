"""The lines of ``metrics.jsonl``, and a function that reads them, even while a run still writes them.

Each line is a JSON object with a ``kind``: ``train`` (`Train`), ``eval`` (`Evaluation`) or ``layers``
(`Layers`).
"""

import dataclasses
import itertools
import json
from typing import Any, TypedDict

import numpy as np
from etils import epath


class Train(TypedDict):
    """A line of training: the means over the updates since the previous such line.

    ``learning_rate`` is that of the last update. The loss is in nats, the error is a fraction.
    ``images_per_second`` counts only the time of the updates.
    """

    step: int
    epoch: float
    loss: float
    top1_error: float
    learning_rate: float
    images_per_second: float


class Evaluation(TypedDict):
    """A line of an evaluation: the fields of `scores.Result` at a step."""

    step: int
    epoch: float
    split: str
    views: int
    examples: int
    loss: float
    top1_error: float
    top5_error: float


class Layers(TypedDict):
    """A line about the layers.

    For each layer, ``weights`` is the mean |w|, and ``steps`` the mean |change of w| in the last update.
    """

    step: int
    layers: dict[str, dict[str, float]]


@dataclasses.dataclass(frozen=True)
class Metrics:
    """The lines of a ``metrics.jsonl``, by their kind and in their order.

    Attributes:
      train: the lines of training.
      evaluations: the lines of evaluations.
      layers: the lines of the layers' magnitudes, one for each evaluation.
      cut: number of the first damaged line, at which reading ended; None if all lines are intact.
    """

    train: tuple[Train, ...]
    evaluations: tuple[Evaluation, ...]
    layers: tuple[Layers, ...]
    cut: int | None

    @property
    def last(self) -> tuple[int, float]:
        """The last step that has a line, and its epoch; (0, 0.0) without lines."""
        reached = [(line["step"], line["epoch"]) for line in (*self.train, *self.evaluations)]
        return max(reached, default=(0, 0.0))

    @property
    def steps_per_epoch(self) -> float | None:
        """Updates in an epoch; None without lines."""
        step, epoch = self.last
        return step / epoch if epoch else None

    def epoch_errors(self) -> np.ndarray:
        """Return the mean training error of each whole epoch, a fraction, of shape (epochs,)."""
        ends, means = [line["epoch"] for line in self.train], [line["top1_error"] for line in self.train]
        return _epoch_means(ends, means)

    def reductions(self) -> list[tuple[float, float]]:
        """Return (epoch, new learning rate) of each change. The epoch is that of the last line before it."""
        return [
            (before["epoch"], line["learning_rate"])
            for before, line in itertools.pairwise(self.train)
            if line["learning_rate"] != before["learning_rate"]
        ]


def read(workdir: epath.Path) -> Metrics:
    """Read the lines of a workdir up to the first damaged one. A missing file has no lines."""
    path = workdir / "metrics.jsonl"
    found: dict[str, list[Any]] = {"train": [], "eval": [], "layers": []}
    cut = None
    for number, line in enumerate(path.read_bytes().splitlines() if path.exists() else (), 1):
        try:
            record = json.loads(line)
            found[record["kind"]].append(record)
        except (ValueError, KeyError, TypeError):
            cut = number
            break
    return Metrics(tuple(found["train"]), tuple(found["eval"]), tuple(found["layers"]), cut)


def _epoch_means(ends: list[float], means: list[float]) -> np.ndarray:
    """Return the mean of each whole epoch, from means over intervals that may span two epochs.

    Args:
      ends: ends of the intervals in epochs, rising. The first interval begins at 0.
      means: mean of each interval.
    """
    edges = np.array([0.0, *ends])
    area = np.cumsum([0.0, *np.diff(edges) * means])
    whole = np.arange(int(edges[-1] + 1e-9) + 1)
    return np.diff(np.interp(whole, edges, area))
