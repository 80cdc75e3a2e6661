"""The linear classifier on features, against scikit-learn's own steps, and the random splits."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from alexnet_jax import UserError
from alexnet_jax.loops import linear

NAMES = ("ant", "bee", "cat")
LABELS = np.repeat([0, 1, 2], [20, 30, 40])


def blobs(labels, seed=0):
    """Return features that classes differ in, one of them constant and one a thousand times as large."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(len(labels), 8)).astype(np.float32)
    features[:, :3] += 2 * np.eye(3, dtype=np.float32)[labels]
    features[:, 3] = 7.0
    features[:, 4] *= 1000
    return features


def test_random_splits_have_the_same_number_of_each_class_and_every_image_once():
    splits = linear.random_splits(LABELS, NAMES, 10, 3, seed=5)
    for train, test in splits:
        assert np.bincount(LABELS[train]).tolist() == [10, 10, 10]
        assert np.array_equal(np.sort(np.concatenate([train, test])), np.arange(90))
    assert len({train.tobytes() for train, _ in splits}) == 3
    again = linear.random_splits(LABELS, NAMES, 10, 4, seed=5)[:3]
    assert [train.tolist() for train, _ in again] == [train.tolist() for train, _ in splits]
    assert not np.array_equal(linear.random_splits(LABELS, NAMES, 10, 1, seed=6)[0][0], splits[0][0])


def test_classes_with_too_few_images_are_counted_and_the_first_is_named():
    message = r"2 of the 3 classes have fewer than 31 images \(the first is ant with 20\): add images"
    with pytest.raises(UserError, match=message):
        linear.random_splits(LABELS, NAMES, 30, 1, seed=0)
    with pytest.raises(
        UserError, match=r"1 of the 3 classes have fewer than 2 training images \(the first is"
    ):
        linear.check_classes(np.array([0, 0, 2, 2]), NAMES)


def test_the_classifier_is_a_logistic_regression_on_standardized_features():
    features = blobs(LABELS)
    ((train, test),) = linear.random_splits(LABELS, NAMES, 15, 1, seed=0)
    found, c = linear.predictions(features, LABELS, (train, test), seed=0)
    mean, std = features[train].mean(axis=0), features[train].std(axis=0)
    standardized = (features - mean) / np.where(std > 0, std, 1)
    assert c in linear._CS
    expected = LogisticRegression(C=c, max_iter=1000).fit(standardized[train], LABELS[train])
    assert (found == expected.predict(standardized[test])).mean() > 0.98
    assert (found == LABELS[test]).mean() > 0.7
    again, _ = linear.predictions(features, LABELS, (train, test), seed=0)
    assert np.array_equal(found, again)


def test_nothing_is_learned_from_the_test_images():
    features = blobs(LABELS)
    ((train, test),) = linear.random_splits(LABELS, NAMES, 15, 1, seed=0)
    found, c = linear.predictions(features, LABELS, (train, test), seed=0)
    features[test[1:]], labels = 1e6, LABELS.copy()
    labels[test] = 0
    changed, changed_c = linear.predictions(features, labels, (train, test), seed=0)
    assert (changed[0], changed_c) == (found[0], c)
    tiny = np.array([0, 1, 20, 21, 50, 51])  # two images of each class: two folds
    linear.predictions(blobs(LABELS), LABELS, (tiny, test), seed=0)


def test_more_features_than_images_give_the_same_predictions():
    """The classifier is trained in the space of the training images; the reference is not."""
    features = np.concatenate([blobs(LABELS, seed) for seed in range(9)], axis=1)
    ((train, test),) = linear.random_splits(LABELS, NAMES, 15, 1, seed=0)
    assert features.shape[1] > len(train)
    found, c = linear.predictions(features, LABELS, (train, test), seed=0)
    expected = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=1000))
    expected.fit(features[train], LABELS[train])
    assert (found == expected.predict(features[test])).mean() > 0.95


def test_the_penalty_with_the_best_cross_validation_is_taken():
    features = blobs(LABELS)
    ((train, test),) = linear.random_splits(LABELS, NAMES, 15, 1, seed=0)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        {"logisticregression__C": linear._CS},
        cv=StratifiedKFold(3, shuffle=True, random_state=0),
    ).fit(features[train], LABELS[train])
    _, c = linear.predictions(features, LABELS, (train, test), seed=0)
    scores = dict(zip(linear._CS, search.cv_results_["mean_test_score"], strict=True))
    assert scores[c] == pytest.approx(max(scores.values()), abs=0.03)
