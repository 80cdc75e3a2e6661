"""Verification: do two images show the same person? Everything is learned on other people."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from sklearn.metrics import roc_auc_score, roc_curve

from alexnet_jax.faces.lfw import Face, Fold
from alexnet_jax.faces.similarity import Metric, fitted_pca, similarity
from alexnet_jax.loops.spread import mean_and_error, spread

Trial: TypeAlias = tuple[Fold, Fold]
"""The pairs on which the PCA and the threshold are learned, and those of the test."""


@dataclasses.dataclass(frozen=True, eq=False)
class Verification:
    """The results of a verification. Each tuple has a value for each trial.

    Attributes:
      pairs: number of pairs of the test in a trial.
      accuracy: fraction of the pairs that are classified right, from 0 to 1.
      auc: area under the ROC curve of the trial, from 0 to 1.
      threshold: the similarity from which on a pair counts as matched.
      false_positive_rate: (points,), of the ROC curve of all trials: for each threshold the fraction of all
        mismatched pairs whose similarity is not lower.
      true_positive_rate: (points,), the same fraction of the matched pairs.
    """

    pairs: int
    accuracy: tuple[float, ...]
    auc: tuple[float, ...]
    threshold: tuple[float, ...]
    false_positive_rate: np.ndarray
    true_positive_rate: np.ndarray

    @property
    def accuracy_and_error(self) -> tuple[float, float]:
        """The mean accuracy and its standard error.

        The error is over the trials; of a single trial, that of a fraction of independent pairs.
        """
        mean, error = mean_and_error(self.accuracy)
        return mean, (mean * (1 - mean) / self.pairs) ** 0.5 if error is None else error

    def to_json(self) -> dict[str, Any]:
        """Return the record in ``results`` of ``alexnet-jax faces --json``."""
        mean, error = self.accuracy_and_error
        return {
            "accuracy": {"mean": mean, "standard_error": error, "values": self.accuracy},
            "auc": spread(self.auc),
            "threshold": self.threshold,
            "roc": {
                "false_positive_rate": self.false_positive_rate.tolist(),
                "true_positive_rate": self.true_positive_rate.tolist(),
            },
        }


def leave_one_out(folds: Sequence[Fold]) -> list[Trial]:
    """Return a trial for each fold: it is the test, and all others are for learning."""
    return [
        (tuple(pair for j, fold in enumerate(folds) if j != i for pair in fold), folds[i])
        for i in range(len(folds))
    ]


def verify(
    features_NxF: np.ndarray,
    rows: Mapping[Face, int],
    trials: Sequence[Trial],
    metric: Metric,
    components: int,
) -> Verification:
    """Classify the test pairs of each trial by a threshold on the similarity of their features.

    In each trial the PCA is fitted on the images of the pairs for learning, and the threshold is the one with
    the highest accuracy on these pairs.

    Args:
      features_NxF: features of the images, float32.
      rows: the row of each image in ``features_NxF``.
      trials: the pairs, with as many in the test of each trial.
      metric: the similarity.
      components: number of components of the PCA.
    """

    def results() -> Iterator[tuple[float, float, float, np.ndarray, np.ndarray]]:
        for learning, test in trials:
            known = np.unique([rows[face] for pair in learning for face in pair])
            pca = fitted_pca(features_NxF[known], components)
            (known_scores, known_same), (scores, same) = (
                _scores(features_NxF, rows, pairs, pca, metric) for pairs in (learning, test)
            )
            threshold = best_threshold(known_scores, known_same)
            accuracy = np.mean((scores >= threshold) == same)
            yield float(accuracy), float(roc_auc_score(same, scores)), threshold, scores, same

    accuracy, auc, threshold, scores, same = zip(*results(), strict=True)
    false_positive, true_positive, _ = roc_curve(np.concatenate(same), np.concatenate(scores))
    return Verification(len(trials[0][1]), accuracy, auc, threshold, false_positive, true_positive)


def best_threshold(scores_P: np.ndarray, same_P: np.ndarray) -> float:
    """Return the threshold with the highest accuracy: the mean of the two similarities between which it lies.

    Args:
      scores_P: similarity of each pair; those from the threshold on count as matched.
      same_P: whether each pair is matched. There are matched and mismatched ones.
    """
    false_positive, true_positive, thresholds = roc_curve(same_P, scores_P, drop_intermediate=False)
    right = true_positive * same_P.sum() - false_positive * (~same_P).sum()
    best = int(np.argmax(right))
    thresholds = np.array([scores_P.max() + 1, *thresholds[1:]], np.float64)  # the first one accepts none
    return float(thresholds[best : best + 2].mean())


def _scores(
    features_NxF: np.ndarray, rows: Mapping[Face, int], pairs: Fold, pca: Any, metric: Metric
) -> tuple[np.ndarray, np.ndarray]:
    """Return the similarity of each pair, and whether it is matched."""
    first, second = (pca.transform(features_NxF[[rows[pair[side]] for pair in pairs]]) for side in (0, 1))
    return similarity(first, second, metric), np.array([pair.same for pair in pairs])
