"""Similarities of rows, and the PCA before them."""

import numpy as np

from alexnet_jax.faces.similarity import fitted_pca, similarities, similarity


def test_the_similarity_of_rows_and_of_all_pairs_agree():
    x, y = np.random.default_rng(0).normal(size=(2, 5, 3))
    np.testing.assert_allclose(np.diag(similarities(x, y, "cosine")), similarity(x, y, "cosine"))
    squares = -(similarity(x, y, "euclidean") ** 2)
    np.testing.assert_allclose(np.diag(similarities(x, y, "euclidean")), squares)
    assert similarity(np.zeros((1, 3)), np.ones((1, 3)), "cosine") == 0


def test_a_pca_has_at_most_as_many_components_as_images():
    assert fitted_pca(np.random.default_rng(0).normal(size=(4, 9)), 128).n_components_ == 4
