"""Measure how well features tell faces apart, on Labeled Faces in the Wild. Read it from top to bottom."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from alexnet_jax.errors import NOTE, UserError
from alexnet_jax.faces.identification import Identification, identify
from alexnet_jax.faces.identities import check_identities
from alexnet_jax.faces.lfw import (
    Face,
    Fold,
    all_faces,
    check_disjoint,
    check_images,
    image_folder,
    list_path,
    people_of,
    read_pairs,
)
from alexnet_jax.faces.similarity import METRICS, Metric
from alexnet_jax.faces.verification import Trial, Verification, leave_one_out, verify
from alexnet_jax.loops.activations import of_files
from alexnet_jax.loops.baselines import Matrix, matrices
from alexnet_jax.loops.spread import mean_and_error
from alexnet_jax.runtime import progress
from alexnet_jax.text import aligned
from alexnet_jax.training.restored import Restored, check_views

_LEARNING_PAIRS = "pairsDevTrain.txt"
_DRAWS = 10  # of the gallery


@dataclasses.dataclass(frozen=True)
class FaceScore:
    """The results of one kind of features.

    Attributes:
      features: what they are.
      dimensions: number of features of an image.
      verification: results on pairs of images.
      identification: results of finding the person; None if fewer than two people have enough images.
    """

    features: str
    dimensions: int
    verification: Verification
    identification: Identification | None


@dataclasses.dataclass(frozen=True)
class FaceScores:
    """The results of `evaluate_faces`.

    Attributes:
      workdir: directory of the network.
      step: number of completed updates.
      layer: name of the layer.
      views: number of crops of each image, 1 or 10.
      pairs: path of the list of pairs.
      trials: number of trials; each tests one fold.
      metric: the similarity.
      components: largest number of components of the PCA.
      gallery: number of images of each person in the gallery.
      seed: seed of the gallery and of the random weights.
      images: number of images that were read.
      images_per_second: speed of the network without the first batch; None if there was only one.
      scores: those of the layer, and then of the baselines.
    """

    workdir: str
    step: int
    layer: str
    views: int
    pairs: str
    trials: int
    metric: Metric
    components: int
    gallery: int
    seed: int
    images: int
    images_per_second: float | None
    scores: tuple[FaceScore, ...]

    def __str__(self) -> str:
        first = self.scores[0]
        each = f"each of {self.trials} folds" if self.trials > 1 else "one fold"
        lines = [f"{self.pairs}: {first.verification.pairs:,} pairs in {each}; {self.metric} after PCA"]
        if (found := first.identification) is not None:
            lines.append(
                f"rank 1: {found.images:,} images of {found.people:,} people, {self.gallery} more of each in"
                " the gallery"
            )
        head = ("features", "dimensions", "accuracy", "AUC", "rank 1", "mean over people")
        return "\n".join([*lines, aligned([head, *(_row(score) for score in self.scores)])])

    def to_json(self) -> dict[str, Any]:
        """Return the record that ``alexnet-jax faces --json`` writes."""
        record = {name: value for name, value in vars(self).items() if name != "scores"}
        first = self.scores[0]
        record["test_pairs"] = first.verification.pairs
        if first.identification is not None:
            record |= {"people": first.identification.people, "probes": first.identification.images}
        record["results"] = [
            {
                "features": score.features,
                "dimensions": score.dimensions,
                "verification": score.verification.to_json(),
                "identification": score.identification and score.identification.to_json(),
            }
            for score in self.scores
        ]
        return record


def evaluate_faces(
    net: Restored,
    folder: str | os.PathLike[str],
    pairs: str | os.PathLike[str] = "pairs.txt",
    learning_pairs: str | os.PathLike[str] | None = None,
    layer: str | None = None,
    views: int = 1,
    metric: Metric = "cosine",
    components: int = 128,
    least: int = 10,
    gallery: int = 1,
    seed: int = 0,
    baselines: bool = False,
    say: Callable[[str], None] = progress.say,
) -> FaceScores:
    """Verify pairs of faces, and identify faces, by the features of a layer.

    Verification: the pairs of each fold are classified by a threshold on the similarity of their features
    after a PCA. Both are learned on the other folds, or on ``learning_pairs``. Identification: each image of
    the people in the pairs that have enough images is assigned to the person of the most similar image in a
    gallery. Its PCA is fitted on images of other people.

    The features of all images are in memory: 4 bytes for each feature of each image.

    Args:
      net: a network from `restore`. Its whole mesh is used.
      folder: the folder of LFW: the lists, and the folder of the images.
      pairs: list of pairs, in ``folder`` or elsewhere.
      learning_pairs: list of pairs of other people, for the PCA and the threshold if ``pairs`` has only one
        fold; by default pairsDevTrain.txt.
      layer: name of the layer, and by default the input of the classifier; see `Restored.features`.
      views: 1 for the centre crop; 10 for the mean of the activations over the ten crops.
      metric: ``cosine``, or ``euclidean`` for the distance.
      components: number of components of the PCA.
      least: number of images that a person needs for the identification.
      gallery: number of these images in the gallery, chosen at random ten times.
      seed: seed of the gallery and of the random weights.
      baselines: whether to do the same with the initial weights of the network, drawn again, and with the
        pixels of the images at 32x32.
      say: function that takes a line of text about each step.

    Returns:
      The accuracies of each trial, as fractions from 0 to 1, and the ROC curve.

    Raises:
      UserError: there is no such layer, a list is malformed, people or images are missing or can't be read,
        or the network was trained on people of the test.
      RunError: an activation is not finite.
      ValueError: an argument is out of range.
    """
    check_views(views)
    if metric not in METRICS or components < 1 or not 1 <= gallery < least:
        raise ValueError("metric must be cosine or euclidean, components >= 1, and 1 <= gallery < least")
    net.feature_shape(layer)  # raises an error if there is no such layer

    # ---- Who is compared, and on whom the rest is learned -----------------------------------------
    path = list_path(folder, pairs)
    trials = _trials(path, folder, learning_pairs)
    tested = people_of(pair for _, test in trials for pair in test)
    check_identities(net, tested, str(path), say)
    everyone = sorted({face for trial in trials for fold in trial for pair in fold for face in pair})
    images = image_folder(folder, {face.person for face in everyone})
    check_images(images, everyone, str(path))
    known = all_faces(images, tested, least)

    # ---- Features, and results with them ---------------------------------------------------------
    faces = sorted({*everyone, *known})
    inputs = of_files([images / face.path for face in faces], net.config.data, say)
    scores, speed = [], None
    for each in matrices(net, inputs, layer, views, seed, baselines, say):
        speed = speed or each.images_per_second
        scores.append(_score(each, faces, trials, known, metric, components, gallery, seed, say))
    return FaceScores(
        net.workdir, net.step, scores[0].features, views, str(path), len(trials), metric, components, gallery,
        seed, len(faces), speed, tuple(scores),
    )  # fmt: skip


def _trials(
    path: Path, folder: str | os.PathLike[str], learning_pairs: str | os.PathLike[str] | None
) -> list[Trial]:
    """Return what is learned and tested: each fold in turn, or one fold after learning on another list."""
    folds = read_pairs(path)
    if len(folds) > 1 and learning_pairs is not None:
        raise UserError(f"{path} has {len(folds)} folds, each tested after learning on the others: remove"
                        " --learning_pairs")  # fmt: skip
    if len(folds) > 1:
        return leave_one_out(folds)
    others = list_path(folder, _LEARNING_PAIRS if learning_pairs is None else learning_pairs)
    learning: Fold = tuple(pair for fold in read_pairs(others) for pair in fold)
    check_disjoint((learning, folds[0]), f"{others} and {path}")
    return [(learning, folds[0])]


def _score(
    matrix: Matrix, faces: Sequence[Face], trials: Sequence[Trial], known: Sequence[Face], metric: Metric,
    components: int, gallery: int, seed: int, say: Callable[[str], None],
) -> FaceScore:  # fmt: skip
    """Verify and identify with one kind of features."""
    name, features = matrix.name, matrix.features
    rows = {face: row for row, face in enumerate(faces)}
    verification = verify(features, rows, trials, metric, components)
    people = {face.person for face in known}
    others = [rows[face] for face in faces if face.person not in people]
    if len(people) < 2 or len(others) < 2:
        say(f"{NOTE}nobody is identified: {len(people)} people have enough images (--least), and"
            f" {len(others)} images of others are left to fit the PCA")  # fmt: skip
        return FaceScore(name, features.shape[1], verification, None)
    identification = identify(
        features[[rows[face] for face in known]], [face.person for face in known], features[others],
        metric, components, gallery, _DRAWS, seed,
    )  # fmt: skip
    return FaceScore(name, features.shape[1], verification, identification)


def _row(score: FaceScore) -> tuple[str, ...]:
    """Return the row of the table that the command prints."""
    found = score.identification
    identified = ("-", "-") if found is None else (_percent(found.accuracy), _percent(found.person_accuracy))
    mean, error = score.verification.accuracy_and_error
    return (
        score.features,
        f"{score.dimensions:,}",
        f"{100 * mean:.2f} ± {100 * error:.2f}%",
        f"{mean_and_error(score.verification.auc)[0]:.4f}",
        *identified,
    )


def _percent(values: Sequence[float]) -> str:
    mean, error = mean_and_error(values)
    return f"{100 * mean:.2f} ± {100 * (error or 0):.2f}%"
