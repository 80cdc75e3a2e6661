"""What a run told, read back from ``metrics.jsonl``, which it may still be writing."""

import dataclasses
import itertools
import json
from typing import Any

import numpy as np
from etils import epath


@dataclasses.dataclass(frozen=True)
class Metrics:
    """The lines of a ``metrics.jsonl``, by their kind and in their order.

    Attributes:
      train: ``step``, ``epoch``, ``loss``, ``top1_error``, ``learning_rate``, ``images_per_second``: means
        over the updates since the line before.
      evaluations: ``split``, ``step``, ``epoch``, ``examples``, ``loss``, ``top1_error``, ``top5_error``.
      layers: ``step`` and ``layers``, for each its mean |w|, ``weights``, and mean |step|, ``steps``.
      cut: the number of a line that is none, where reading ended; None where all are whole.
    """

    train: tuple[dict[str, Any], ...]
    evaluations: tuple[dict[str, Any], ...]
    layers: tuple[dict[str, Any], ...]
    cut: int | None

    @property
    def steps_per_epoch(self) -> float | None:
        """None where no line says it."""
        last = max((*self.train, *self.evaluations), key=lambda line: line["step"], default=None)
        return last["step"] / last["epoch"] if last and last["epoch"] else None

    def epoch_errors(self) -> np.ndarray:
        """(epochs,), the mean training error in each whole epoch, a fraction."""
        return _epoch_means(*([line[key] for line in self.train] for key in ("epoch", "top1_error")))

    def reductions(self) -> list[tuple[float, float]]:
        """Return (epoch, new learning rate) of each change: the end of the last line with the rate before."""
        return [
            (before["epoch"], line["learning_rate"])
            for before, line in itertools.pairwise(self.train)
            if line["learning_rate"] != before["learning_rate"]
        ]


def read(workdir: epath.Path) -> Metrics:
    """The lines of a workdir up to the first that is none; no lines where there is no file."""
    path = workdir / "metrics.jsonl"
    found: dict[str, list[dict[str, Any]]] = {"train": [], "eval": [], "layers": []}
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
    """The mean of each whole epoch, of means over intervals, which may lie across two epochs.

    Args:
      ends: of the intervals, in epochs, rising; the first one begins at 0.
      means: of what is between the end before and this one.
    """
    edges = np.array([0.0, *ends])
    area = np.cumsum([0.0, *np.diff(edges) * means])
    whole = np.arange(int(edges[-1] + 1e-9) + 1)
    return np.diff(np.interp(whole, edges, area))
