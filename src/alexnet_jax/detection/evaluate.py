"""Measure a detector on annotated photographs. Read it from top to bottom."""

import dataclasses
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from alexnet_jax.detection import average_precision, stored
from alexnet_jax.detection.annotations import Annotated
from alexnet_jax.detection.average_precision import Detections, Objects
from alexnet_jax.detection.detector import Detector, Found
from alexnet_jax.detection.examples import Example, examples, extract
from alexnet_jax.detection.extractor import Extractor
from alexnet_jax.runtime import progress
from alexnet_jax.text import aligned


@dataclasses.dataclass(frozen=True)
class ClassScore:
    """The average precision of a class, between 0 and 1; NaN if no photograph has an object of it.

    Attributes:
      class_name: name of the class.
      objects: number of objects that are not difficult.
      eleven_points: by the rule of VOC2007.
      area: by the rule from VOC2010 on.
      without_regression: by the rule of VOC2007, for boxes that are not moved by the regression.
    """

    class_name: str
    objects: int
    eleven_points: float
    area: float
    without_regression: float


@dataclasses.dataclass(frozen=True)
class Measured:
    """The result of a detector.

    Attributes:
      classes: the classes.
      photographs: number of photographs.
    """

    classes: tuple[ClassScore, ...]
    photographs: int

    def mean(self, name: str) -> float:
        """Return the mean of a score over the classes that have objects: mAP. NaN if none has."""
        found = [getattr(each, name) for each in self.classes if each.objects]
        return float(np.mean(found)) if found else math.nan

    def __str__(self) -> str:
        head = ["class", "objects", "11 points, %", "area, %", "11 points, boxes not moved, %"]
        scores = ("eleven_points", "area", "without_regression")
        rows = [
            [each.class_name, f"{each.objects:,}", *(_percent(getattr(each, name)) for name in scores)]
            for each in self.classes
        ]
        total = f"{sum(each.objects for each in self.classes):,}"
        mean = [
            f"mean, {self.photographs:,} photographs",
            total,
            *(_percent(self.mean(name)) for name in scores),
        ]
        return aligned([head, *rows, mean])

    def to_json(self) -> dict[str, Any]:
        """Return the record that ``alexnet-jax detect evaluate --json`` writes, without NaN."""
        names = ("eleven_points", "area", "without_regression")
        return {
            "photographs": self.photographs,
            "mean": _without_nan({name: self.mean(name) for name in names}),
            "classes": [_without_nan(vars(each)) for each in self.classes],
        }


def _without_nan(record: dict[str, Any]) -> dict[str, Any]:
    return {key: None if value != value else value for key, value in record.items()}


def _percent(score: float) -> str:
    return "-" if np.isnan(score) else f"{100 * score:.1f}"


def evaluate(
    detector: Detector,
    network: Extractor,
    annotated: Annotated,
    out: str | os.PathLike[str],
    say: Callable[[str], None] = progress.say,
) -> Measured:
    """Measure the average precision of each class.

    Proposals and features are kept in files. The same call resumes after a kill.

    Args:
      detector: the detector.
      network: its network.
      annotated: the photographs, with the detector's classes.
      out: folder of the proposals and the features.
      say: function that takes a line for the user.

    Raises:
      UserError: a photograph can't be read, or a file in ``out`` belongs to something else.
    """
    with stored.held(out) as folder:
        # ---- Windows: proposals by selective search; and their features -----------------------------
        most = detector.description.max_proposals
        windows = examples(annotated.photographs, folder / "proposals" / "evaluate", most, False, say)
        features = extract(network, windows, folder / "features" / "evaluate", say)

        # ---- Detections of each class, before and after the regression of their boxes ---------------
        before, after = [], []
        for each in progress.bar(windows, total=len(windows), unit="photograph", description="detecting"):
            both = features.both(each)
            found = detector.detect(each.boxes_Nx4, both.units_NxU)
            before.append(found)
            after.append(detector.regressed(found, both.maps_NxM, each.photograph.size))

    # ---- Average precision --------------------------------------------------------------------------
    classes = []
    for label, name in enumerate(detector.description.class_names):
        plain, moved = (_count(windows, each, label) for each in (before, after))
        classes.append(
            ClassScore(
                name,
                moved.objects,
                average_precision.eleven_points(moved),
                average_precision.area(moved),
                average_precision.eleven_points(plain),
            )
        )
    return Measured(tuple(classes), len(windows))


def _count(
    examples: Sequence[Example], found: Sequence[Sequence[Found]], label: int
) -> average_precision.Counts:
    """Count the right and wrong detections of a class."""
    of_class = [classes[label] for classes in found]
    detections = Detections(
        np.repeat(np.arange(len(of_class)), [len(each.scores_N) for each in of_class]),
        np.concatenate([each.boxes_Nx4 for each in of_class]),
        np.concatenate([each.scores_N for each in of_class]),
    )
    objects = [
        Objects(photograph.boxes_Nx4[rows], photograph.difficult_N[rows])
        for photograph in (each.photograph for each in examples)
        for rows in [photograph.labels_N == label]
    ]
    return average_precision.count(detections, objects)
