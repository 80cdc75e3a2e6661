"""Verification equals a plain computation, and nothing is learned on the people of the test."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from alexnet_jax.faces.lfw import people_of, read_pairs
from alexnet_jax.faces.verification import best_threshold, leave_one_out, verify


@pytest.fixture
def folds(lfw):
    return read_pairs(lfw.root / "pairs.txt")


@pytest.fixture
def rows(folds):
    faces = sorted({face for fold in folds for pair in fold for face in pair})
    return {face: row for row, face in enumerate(faces)}


def features_of(rows, noise=1.5):
    """Return a random vector for each person, with noise."""
    random = np.random.default_rng(0)
    people = sorted({face.person for face in rows})
    means = dict(zip(people, random.normal(size=(len(people), 30)), strict=True))
    return np.array([means[face.person] + noise * random.normal(size=30) for face in rows], np.float32)


def test_no_person_of_the_test_is_among_those_that_are_learned_from(folds):
    trials = leave_one_out(folds)
    assert [test for _, test in trials] == list(folds)
    for learning, test in trials:
        assert len(learning) == 3 * len(test)
        assert not people_of(learning) & people_of(test)


def test_what_is_learned_for_a_fold_does_not_depend_on_the_images_of_its_people(folds, rows):
    features = features_of(rows)
    before = verify(features, rows, leave_one_out(folds), "cosine", 5)
    for i, fold in enumerate(folds):
        changed = features.copy()
        for face in {face for pair in fold for face in pair}:
            changed[rows[face]] = np.random.default_rng(rows[face]).normal(size=30) * 9
        after = verify(changed, rows, leave_one_out(folds), "cosine", 5)
        assert after.threshold[i] == before.threshold[i]
        assert [a == b for a, b in zip(after.threshold, before.threshold, strict=True)].count(True) == 1
        assert after.accuracy[i] != before.accuracy[i]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_accuracy_threshold_and_curve_equal_a_plain_computation(folds, rows, metric):
    features = features_of(rows)
    found = verify(features, rows, leave_one_out(folds), metric, 30)
    points, right = [], []
    for i, test in enumerate(folds):
        others = [pair for j, fold in enumerate(folds) if j != i for pair in fold]
        known = sorted({rows[face] for pair in others for face in pair})
        pca = PCA(30, svd_solver="full").fit(features[known])

        def score(pair, pca=pca):
            x, y = pca.transform(features[[rows[face] for face in pair]])
            if metric == "euclidean":
                return -np.sqrt(((x - y) ** 2).sum())
            return x @ y / np.sqrt((x @ x) * (y @ y))

        scores = {pair: score(pair) for pair in [*others, *test]}

        def accuracy(threshold, pairs, scores=scores):
            return np.mean([(scores[pair] >= threshold) == pair.same for pair in pairs])

        best = max(accuracy(threshold, others) for threshold in [scores[pair] for pair in others] + [9])
        assert accuracy(found.threshold[i], others) == best
        right.append(accuracy(found.threshold[i], test))
        points += [(scores[pair], pair.same) for pair in test]
        wins = [(a > b) + (a == b) / 2 for a, x in points[-24:] if x for b, y in points[-24:] if not y]
        assert found.auc[i] == pytest.approx(np.mean(wins))
    assert found.accuracy == pytest.approx(right)
    mean, error = found.accuracy_and_error
    assert (mean, error) == pytest.approx((np.mean(right), np.std(right, ddof=1) / 2))
    assert 0.6 < mean < 0.99
    wins = [(a > b) + (a == b) / 2 for a, x in points if x for b, y in points if not y]
    area = np.trapezoid(found.true_positive_rate, found.false_positive_rate)
    assert area == pytest.approx(np.mean(wins))


def test_a_single_trial_has_the_error_of_a_fraction(folds, rows):
    found = verify(features_of(rows), rows, leave_one_out(folds)[:1], "cosine", 5)
    mean, error = found.accuracy_and_error
    assert error == pytest.approx(np.sqrt(mean * (1 - mean) / 24))
    assert found.to_json()["auc"]["standard_error"] is None


@pytest.mark.parametrize(
    ("scores", "same", "threshold"),
    [
        ([1, 2, 5, 6], [False, False, True, True], 3.5),
        ([3, 3, 3, 3], [False, True, False, True], 3.5),  # nothing can be told apart: accept none
        ([5, 6, 1, 2], [False, False, True, True], 6.5),
        ([1, 2, 3, 4], [False, True, False, True], 3.5),
    ],
)
def test_the_threshold_lies_between_two_similarities(scores, same, threshold):
    assert best_threshold(np.array(scores, float), np.array(same)) == threshold
