"""The lines of ``metrics.jsonl``, and functions that read them, even while a run still writes them.

Each line is a JSON object with a ``kind``: ``train`` (`Train`), ``eval`` (`Evaluation`) or ``layers``
(`Layers`). Lines of other kinds are ignored. A line is damaged if it is not such an object with a step, or if
a field of its kind is missing, has another type, or is out of range.
"""

import dataclasses
import io
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
from etils import epath

from alexnet_jax import files

FILE = "metrics.jsonl"
_LONGEST = 2**16  # bytes of a line; a longer one counts as several damaged lines
_SPLITS = ("train", "validation", "test")
_FLOAT32 = float(np.finfo(np.float32).max)
_RANGES = {
    "step": (0, 2**31 - 1),
    "epoch": (0, 10**6),
    "views": (1, 10),
    "examples": (1, 2**53),
    "loss": (-_FLOAT32, _FLOAT32),
    "top1_error": (0, 1),
    "top5_error": (0, 1),
}
_OTHERS = (0, _FLOAT32)  # the range of all other numbers


class Train(TypedDict):
    """A line of training: the means over the updates since the previous such line.

    ``learning_rate`` is that of the last update. The loss is in nats, the error is a fraction.
    ``images_per_second`` counts only the time of the updates. ``flops_per_second`` and ``mfu``, a fraction,
    are the result of `flops.Flops.achieved` for it. Runs of earlier versions have neither.
    """

    step: int
    epoch: float
    loss: float
    top1_error: float
    learning_rate: float
    images_per_second: float
    flops_per_second: NotRequired[float]
    mfu: NotRequired[float | None]


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


_KINDS: dict[str, Any] = {"train": Train, "eval": Evaluation, "layers": Layers}


@dataclasses.dataclass(frozen=True)
class Metrics:
    """The lines of a ``metrics.jsonl``, by their kind and in their order.

    Attributes:
      train: the lines of training.
      evaluations: the lines of evaluations.
      layers: the lines of the layers' magnitudes, one for each evaluation.
      damaged: numbers of the damaged lines, from 1. They are skipped.
    """

    train: tuple[Train, ...]
    evaluations: tuple[Evaluation, ...]
    layers: tuple[Layers, ...]
    damaged: tuple[int, ...]

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
        """Return the mean training error of each whole epoch, a fraction, of shape (epochs,).

        If a line is damaged, the next line counts for the intervals of both.
        """
        ends, means = [line["epoch"] for line in self.train], [line["top1_error"] for line in self.train]
        return _epoch_means(ends, means)

    def reductions(self) -> list[tuple[float, float]]:
        """Return (epoch of the last line before it, new learning rate) of each reduction."""
        return [
            (before["epoch"], line["learning_rate"])
            for before, line in itertools.pairwise(self.train)
            if line["learning_rate"] < before["learning_rate"]
        ]


def read(workdir: epath.Path) -> Metrics:
    """Read the intact lines of a workdir. A missing file has no lines."""
    found: dict[str, list[Any]] = {kind: [] for kind in _KINDS}
    damaged = []
    for number, (_, record) in enumerate(lines(workdir / FILE), 1):
        if record is None:
            damaged.append(number)
        elif record["kind"] in found:
            found[record["kind"]].append(record)
    return Metrics(tuple(found["train"]), tuple(found["eval"]), tuple(found["layers"]), tuple(damaged))


def lines(path: epath.Path) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
    """Yield each line of a file and its object, or None for a damaged line. A missing file has no lines."""
    # A pipe or a device would be read without end. The `is_file` of epath is also true for these.
    if path.exists() and (files.is_remote(path) or Path(path).is_file()):
        with (
            path.open("rb") as opened,
            io.BufferedReader(opened) as file,
        ):  # a bucket's file has fewer methods
            while line := file.readline(_LONGEST):
                yield line, _parsed(line)


def damage(numbers: Sequence[int]) -> str:
    """Return a sentence about damaged lines, of which there is at least one."""
    if len(numbers) == 1:
        return f"{FILE} is damaged in line {numbers[0]}: this line is ignored"
    return f"{FILE} is damaged in {len(numbers)} lines, first in line {numbers[0]}: they are ignored"


def _parsed(line: bytes) -> dict[str, Any] | None:
    """Return the object of a line, or None if the line is damaged."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("kind"), str):
        return None
    kind = _KINDS.get(record["kind"])
    fields = {"step": int} if kind is None else kind.__annotations__
    for name, type_ in fields.items():
        optional = kind is not None and name in kind.__optional_keys__
        if not (_fits(name, record.get(name), type_) or (optional and record.get(name) is None)):
            return None
    if "epoch" in fields and not record["epoch"] <= record["step"] <= record["epoch"] * 2**31:
        return None  # an epoch has at least one step
    return record


def _fits(name: str, value: Any, kind: Any) -> bool:
    """Return whether the value of a field has its type and is in its range."""
    if name == "split":
        return value in _SPLITS
    if name == "layers":
        return isinstance(value, dict) and all(map(_describes_layer, value, value.values()))
    low, high = _RANGES.get(name, _OTHERS)
    return type(value) in (int, kind if kind is int else float) and low <= value <= high


def _describes_layer(name: str, means: Any) -> bool:
    return (
        name.isprintable()
        and isinstance(means, dict)
        and all(_fits(key, means.get(key), float) for key in ("weights", "steps"))
    )


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
