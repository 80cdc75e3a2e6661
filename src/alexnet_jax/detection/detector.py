"""A trained detector: its network, an SVM and a regression for each class; and its files."""

import dataclasses
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_jax import files, schema
from alexnet_jax.detection import stored
from alexnet_jax.detection.boxes import suppressed
from alexnet_jax.detection.extractor import Extractor, extractor
from alexnet_jax.detection.regression import Regression
from alexnet_jax.detection.svm import Linear
from alexnet_jax.errors import UserError
from alexnet_jax.schema import Count, Positive
from alexnet_jax.training.restored import restore

FORMAT = 1
"""The format of the files; it changes whenever an older version could not read new ones."""

_DUPLICATE = 0.3  # overlap above which the lower of two detections of a class is removed
_MOST = 40  # detections of a class in a photograph


@dataclasses.dataclass(frozen=True)
class Description:
    """The content of ``detector.json``.

    Attributes:
      format: `FORMAT`.
      class_names: names of the classes.
      workdir: workdir of the network.
      step: its checkpoint.
      random_seed: seed of random weights that replace those of the checkpoint; None for a trained network.
      weights: identity of the weights, see `extractor.Extractor`.
      max_proposals: number of proposals of a photograph.
    """

    format: int
    class_names: tuple[str, ...]
    workdir: str
    step: Count
    random_seed: int | None
    weights: str
    max_proposals: Positive


@dataclasses.dataclass(frozen=True, eq=False)
class Found:
    """Detections of a class in a photograph, by falling scores.

    Attributes:
      rows_N: numbers of their windows.
      boxes_Nx4: boxes.
      scores_N: scores of the SVM.
    """

    rows_N: np.ndarray
    boxes_Nx4: np.ndarray
    scores_N: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Detector:
    """A trained detector.

    Attributes:
      description: what ``detector.json`` holds.
      svms: scores of the classes.
      regression: regression of the boxes.
    """

    description: Description
    svms: Linear
    regression: Regression

    def detect(self, boxes_Nx4: np.ndarray, units_NxU: np.ndarray) -> list[Found]:
        """Return the detections of each class in a photograph.

        Args:
          boxes_Nx4: the boxes of the windows.
          units_NxU: features of the windows, see `extractor.Features`.
        """
        boxes_Nx4 = boxes_Nx4.astype(np.float64)
        found = []
        for scores_N in self.svms(units_NxU).T:
            rows = suppressed(boxes_Nx4, scores_N, _DUPLICATE, _MOST)
            found.append(Found(rows, boxes_Nx4[rows], scores_N[rows]))
        return found

    def regressed(self, found: Sequence[Found], maps_NxM: np.ndarray, size: tuple[int, int]) -> list[Found]:
        """Return the detections of each class after the regression of their boxes.

        Args:
          found: what `detect` returned.
          maps_NxM: features of the windows, see `extractor.Features`.
          size: (height, width) of the photograph.
        """
        after = []
        for label, each in enumerate(found):
            boxes_Nx4 = self.regression(label, each.boxes_Nx4, maps_NxM[each.rows_N], size)
            kept = suppressed(boxes_Nx4, each.scores_N, _DUPLICATE)
            after.append(Found(each.rows_N[kept], boxes_Nx4[kept], each.scores_N[kept]))
        return after

    def save(self, directory: Path) -> None:
        """Write ``detector.npz``, and then ``detector.json``.

        Raises:
          UserError: the directory can't be written.
        """
        arrays = vars(self.svms) | vars(self.regression)
        stored.save(directory / "detector.npz", _identity(self.description), arrays)
        with files.creating("the folder", directory):
            content = files.as_json(dataclasses.asdict(self.description))
            files.write(directory / "detector.json", content)


def load(directory: str | os.PathLike[str]) -> Detector:
    """Read the detector that ``detect train`` wrote.

    Raises:
      UserError: there is none, or it is damaged or from another version.
    """
    path = Path(files.absolute(directory))
    try:
        content: dict[str, Any] = schema.read_json(path / "detector.json", dict[str, Any])
        if content.get("format") != FORMAT:
            raise ValueError(f"it has format {content.get('format')!r:.20}, but this version reads {FORMAT}")
        description = schema.check(content, Description)
    except FileNotFoundError:
        raise UserError(f"there is no detector in {directory}: run alexnet-jax detect train first") from None
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path / 'detector.json'} can't be read ({files.explained(error)}): train again"
        ) from error
    names = ["weights_CxU", "biases_C", "weights_Cx4xM", "biases_Cx4"]
    arrays = stored.load(path / "detector.npz", _identity(description), names)
    if arrays is None:
        raise UserError(f"{path / 'detector.npz'} is missing or was damaged: train again")
    weights_CxU, biases_C, weights_Cx4xM, biases_Cx4 = arrays.values()
    return Detector(description, Linear(weights_CxU, biases_C), Regression(weights_Cx4xM, biases_Cx4))


def network(description: Description, workdir: str | os.PathLike[str] | None = None) -> Extractor:
    """Return the network of a detector.

    Args:
      description: the detector's description.
      workdir: where the network is now, if it was moved.

    Raises:
      UserError: the network is gone or has other weights.
    """
    place = description.workdir if workdir is None else workdir
    found = extractor(restore(place, description.step), description.random_seed)
    if found.identity != description.weights:
        raise UserError(
            f"{place} has other weights at step {description.step} than the detector was trained with: name"
            " the network's workdir with --workdir"
        )
    return found


def _identity(description: Description) -> str:
    return f"detector {zlib.crc32(repr(description).encode()):08x}"
