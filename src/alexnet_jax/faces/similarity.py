"""The similarity of images by their features: the cosine, or the distance, after a PCA."""

from typing import Literal, TypeAlias

import numpy as np
from sklearn.decomposition import PCA

Metric: TypeAlias = Literal["cosine", "euclidean"]
METRICS: tuple[Metric, ...] = ("cosine", "euclidean")


def fitted_pca(features_NxF: np.ndarray, components: int) -> PCA:
    """Fit a PCA on features, with fewer components if there are fewer images or features."""
    pca = PCA(min(components, *features_NxF.shape), svd_solver="randomized", random_state=0)
    return pca.fit(features_NxF)


def similarity(first_NxC: np.ndarray, second_NxC: np.ndarray, metric: Metric) -> np.ndarray:
    """Return the similarity of the rows of two arrays, (N,), larger for more similar images.

    ``euclidean`` is the distance of section 6.1 of the paper, with its sign changed.
    """
    if metric == "euclidean":
        return -np.linalg.norm(first_NxC - second_NxC, axis=1)
    return np.einsum("nc,nc->n", unit(first_NxC), unit(second_NxC))


def similarities(first_NxC: np.ndarray, second_MxC: np.ndarray, metric: Metric) -> np.ndarray:
    """Return the similarity of each row of an array to each row of another one, (N, M).

    Distances are squared, which does not change their order.
    """
    if metric == "cosine":
        return unit(first_NxC) @ unit(second_MxC).T
    squares_M = np.einsum("mc,mc->m", second_MxC, second_MxC)
    squares_N = np.einsum("nc,nc->n", first_NxC, first_NxC)
    return 2 * first_NxC @ second_MxC.T - squares_M - squares_N[:, None]


def unit(x_NxC: np.ndarray) -> np.ndarray:
    """Scale rows to the length 1. Rows of zeros stay."""
    lengths_N = np.linalg.norm(x_NxC, axis=1, keepdims=True)
    return x_NxC / np.maximum(lengths_N, np.finfo(np.float32).tiny)
