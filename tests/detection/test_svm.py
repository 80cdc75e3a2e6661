"""The SVMs: which windows they are trained on, and that hard negatives are as good as all."""

import numpy as np
import pytest
from sklearn.svm import LinearSVC

from alexnet_jax.detection import svm
from alexnet_jax.detection.svm import NORM, scale_of, train_svms
from alexnet_jax.errors import UserError
from tests.detection.in_memory import Features, example

OBJECT, NEAR, FAR, OTHER = (0, 0, 40, 40), (0, 0, 40, 30), (50, 50, 90, 90), (60, 0, 100, 30)


def by_hand(positives, negatives, scale):
    """Train on all windows at once, with the settings of R-CNN's code."""
    model = LinearSVC(C=1e-3, loss="hinge", class_weight={1: 2}, intercept_scaling=10, random_state=0)
    windows = np.concatenate([positives, negatives]).astype(np.float16).astype(np.float32) * scale
    model.fit(windows.astype(np.float16), [1] * len(positives) + [-1] * len(negatives))
    return model.coef_[0] * scale, model.intercept_[0]


def test_objects_are_positives_and_windows_far_from_them_are_negatives():
    random = np.random.default_rng(0)
    one = example([OBJECT, OTHER], [NEAR, FAR], [0, 1])
    hard = example([OBJECT], [FAR], [0], difficult=[True])
    arrays = [random.normal(size=(4, 8)), random.normal(size=(2, 8))]
    features = Features([one, hard], arrays)
    scale = scale_of([one, hard], features, "units_NxU")
    norms = np.linalg.norm(np.concatenate(arrays), axis=1)
    assert scale == pytest.approx(NORM / norms.mean(), rel=1e-2)
    found = train_svms([one, hard], features, ["cat", "dog"])
    # The difficult cat is no negative of cats, but one of dogs. A window near a cat is neither.
    for label, positives, negatives in (
        (0, arrays[0][:1], [*arrays[0][[1, 3]], arrays[1][1]]),
        (1, arrays[0][1:2], [*arrays[0][[0, 2, 3]], *arrays[1]]),
    ):
        weights, bias = by_hand(positives, np.array(negatives), scale)
        np.testing.assert_allclose(
            found.weights_CxU[label], weights, rtol=0.05, atol=1e-2 * np.abs(weights).max()
        )
        np.testing.assert_allclose(found.biases_C[label], bias, atol=2e-2)
    assert found(arrays[0]).shape == (4, 2)


def test_hard_negatives_in_one_pass_are_almost_as_good_as_all(monkeypatch):
    monkeypatch.setattr(svm, "_NEW", 100)
    monkeypatch.setattr(svm, "_MOST", 150)
    random = np.random.default_rng(1)
    examples, arrays = [], []
    for _ in range(60):
        examples.append(example([OBJECT], [FAR] * 30, [0]))
        units = random.normal(size=(31, 16))
        units[0, :4] += 2.0
        arrays.append(units)
    kept = []
    fit = svm._Class.fit

    def recording(self):
        fit(self)
        kept.append(len(self._negatives_NxU))

    monkeypatch.setattr(svm._Class, "fit", recording)
    found = train_svms(examples, Features(examples, arrays), ["cat"])
    assert len(kept) > 2
    assert max(kept) <= 150
    units = np.array(arrays)
    positives, negatives = units[:, 0], units[:, 1:].reshape(-1, 16)
    scale = scale_of(examples, Features(examples, arrays), "units_NxU")
    weights, bias = by_hand(positives, negatives, scale)
    mine, all_of_them = (found(units)[..., 0] > 0), (units @ weights + bias > 0)
    assert np.mean(mine != all_of_them) < 0.03


def test_a_sample_of_the_hard_negatives_stands_for_all_of_them(monkeypatch):
    # The classes overlap, so that nearly all of the 1,800 negatives are hard.
    monkeypatch.setattr(svm, "_NEW", 100)
    monkeypatch.setattr(svm, "_MOST", 150)
    random = np.random.default_rng(2)
    examples, arrays = [], []
    for _ in range(60):
        examples.append(example([OBJECT], [FAR] * 30, [0]))
        units = random.normal(size=(31, 16))
        units[0, :4] += 0.7
        arrays.append(units)
    features = Features(examples, arrays)
    found = train_svms(examples, features, ["cat"])
    positives, negatives = (
        np.array([units[0] for units in arrays]),
        np.concatenate([units[1:] for units in arrays]),
    )
    weights, bias = by_hand(positives, negatives, scale_of(examples, features, "units_NxU"))
    expected = negatives @ weights + bias
    assert (found(negatives)[:, 0] > 0).mean() == pytest.approx((expected > 0).mean(), abs=0.03)
    assert found(negatives).mean() == pytest.approx(expected.mean(), abs=0.2)


def test_a_class_without_negatives_is_refused():
    only = example([OBJECT], [NEAR], [0])
    features = Features([only], [np.ones((2, 4))])
    with pytest.raises(UserError, match="no window is free of class cat"):
        train_svms([only], features, ["cat"])
