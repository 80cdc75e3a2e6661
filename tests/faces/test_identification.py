"""Identification at rank 1."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from alexnet_jax.faces.identification import identify

PEOPLE = ["b"] * 3 + ["a"] * 6 + ["c"] * 4


def features(noise):
    random = np.random.default_rng(1)
    means = {name: random.normal(size=8) for name in "abc"}
    known = np.array([means[name] + noise * random.normal(size=8) for name in PEOPLE])
    return known, random.normal(size=(20, 8))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_images_without_noise_are_all_identified(metric):
    known, others = features(0.01)
    found = identify(known, PEOPLE, others, metric, 8, gallery=1, draws=4, seed=0)
    assert (found.people, found.images) == (3, 10)
    assert found.accuracy == found.person_accuracy == (1.0,) * 4


@pytest.mark.parametrize(("metric", "gallery"), [("cosine", 1), ("euclidean", 2)])
def test_the_nearest_image_of_the_gallery_decides(metric, gallery):
    known, others = features(1.0)
    found = identify(known, PEOPLE, others, metric, 8, gallery, draws=3, seed=5)
    reduced = PCA(8, svd_solver="full").fit(others).transform(known)
    if metric == "cosine":
        reduced = reduced / np.linalg.norm(reduced, axis=1, keepdims=True)
    names = np.array(PEOPLE)
    for draw in range(3):
        order = np.random.default_rng([5, draw]).permutation(len(names))
        inside = np.concatenate([[i for i in order if names[i] == name][:gallery] for name in "abc"])
        right = {
            i: names[min(inside, key=lambda j: np.linalg.norm(reduced[i] - reduced[j]))] == names[i]
            for i in set(order) - set(inside)
        }
        assert found.images == len(right) == 13 - 3 * gallery
        assert found.accuracy[draw] == pytest.approx(np.mean([*right.values()]))
        means = [np.mean([right[i] for i in right if names[i] == name]) for name in "abc"]
        assert found.person_accuracy[draw] == pytest.approx(np.mean(means))
    assert len(set(found.accuracy)) > 1
    assert found == identify(known, PEOPLE, others, metric, 8, gallery, draws=3, seed=5)
    assert found.to_json()["accuracy"]["mean"] == pytest.approx(np.mean(found.accuracy))
