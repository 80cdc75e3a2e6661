"""Identification: whose face is this? The person of the most similar image in a gallery, at rank 1."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from alexnet_jax.faces.similarity import Metric, fitted_pca, similarities
from alexnet_jax.loops.spread import spread


@dataclasses.dataclass(frozen=True)
class Identification:
    """The results of an identification. Each tuple has a value for each draw of the gallery.

    Attributes:
      people: number of people, each with the same number of images in the gallery.
      images: number of images that are identified in a draw.
      accuracy: fraction of these images that are assigned to the right person, from 0 to 1.
      person_accuracy: the mean over the people of this fraction.
    """

    people: int
    images: int
    accuracy: tuple[float, ...]
    person_accuracy: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the record in ``results`` of ``alexnet-jax faces --json``."""
        return {"accuracy": spread(self.accuracy), "person_accuracy": spread(self.person_accuracy)}


def identify(
    features_NxF: np.ndarray,
    people_N: Sequence[str],
    others_MxF: np.ndarray,
    metric: Metric,
    components: int,
    gallery: int,
    draws: int,
    seed: int,
) -> Identification:
    """Assign images to the person of the most similar image in a gallery, for several draws of the gallery.

    Args:
      features_NxF: features of the images, float32.
      people_N: the person of each image. Each has more images than ``gallery``.
      others_MxF: features of images of other people, on which the PCA is fitted.
      metric: the similarity.
      components: number of components of the PCA.
      gallery: number of images of each person in the gallery. All others are identified.
      draws: number of draws.
      seed: the n-th draw depends only on the seed and n.
    """
    names, labels_N = np.unique(people_N, return_inverse=True)
    reduced_NxC = fitted_pca(others_MxF, components).transform(features_NxF)
    scores_NxN = similarities(reduced_NxC, reduced_NxC, metric)
    accuracy, person_accuracy = [], []
    for draw in range(draws):
        order_N = np.random.default_rng([seed, draw]).permutation(len(labels_N))
        order_N = order_N[np.argsort(labels_N[order_N], kind="stable")]  # each person's images in a row
        starts = np.searchsorted(labels_N[order_N], np.arange(len(names)))
        in_gallery = np.zeros(len(labels_N), bool)
        in_gallery[order_N[(starts[:, None] + np.arange(gallery)).ravel()]] = True
        known, probes = np.flatnonzero(in_gallery), np.flatnonzero(~in_gallery)
        found = labels_N[known[np.argmax(scores_NxN[np.ix_(probes, known)], axis=1)]]
        right = found == labels_N[probes]
        counts = np.bincount(labels_N[probes])
        accuracy.append(float(right.mean()))
        person_accuracy.append(float(np.mean(np.bincount(labels_N[probes], right) / counts)))
    return Identification(len(names), len(probes), tuple(accuracy), tuple(person_accuracy))
