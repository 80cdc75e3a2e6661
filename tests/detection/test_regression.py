"""The regression of boxes moves proposals to the objects near them."""

import numpy as np

from alexnet_jax.detection import regression as module
from alexnet_jax.detection.boxes import offsets, overlaps
from alexnet_jax.detection.regression import train_regression
from tests.detection.in_memory import Features, example


def shifted(count, seed=0):
    """Return photographs with an object and proposals around it, whose features tell the offset."""
    random, examples, arrays = np.random.default_rng(seed), [], []
    for _ in range(count):
        x, y = random.uniform(10, 40, 2)
        target = np.array([[x, y, x + 40, y + 40]])
        near = target + random.uniform(-6, 6, (5, 4))
        far = near[:2] + np.array([0, 45, 0, 45])
        examples.append(example(target, np.concatenate([near, far]), [0]))
        told = np.concatenate(
            [np.zeros((1, 4)), offsets(near, np.repeat(target, 5, 0)), random.normal(size=(2, 4))]
        )
        arrays.append(np.concatenate([told, np.full((8, 1), 0.5), random.normal(size=(8, 3)) * 0.01], axis=1))
    return examples, arrays


def test_boxes_move_to_the_objects(monkeypatch):
    monkeypatch.setattr(module, "_PENALTY", 1.0)  # there are few examples
    examples, arrays = shifted(60)
    found = train_regression(examples, Features(examples, arrays), 2)
    before, after = [], []
    for each, maps in zip(*shifted(20, seed=9), strict=True):
        boxes = each.boxes_Nx4[1:6].astype(float)
        moved = found(0, boxes, maps[1:6], (100, 100))
        before += overlaps(boxes, each.photograph.boxes_Nx4)[:, 0].tolist()
        after += overlaps(moved, each.photograph.boxes_Nx4)[:, 0].tolist()
    assert np.mean(before) < 0.85
    assert np.mean(after) > 0.95


def test_it_is_ridge_regression_of_the_proposals_near_objects():
    examples, arrays = shifted(10)
    found = train_regression(examples, Features(examples, arrays), 2)
    maps, targets = [], []
    for each, array in zip(examples, arrays, strict=True):
        near = np.flatnonzero(overlaps(each.boxes_Nx4, each.photograph.boxes_Nx4)[:, 0] > 0.6)
        near = near[near > 0]  # the first window is the object
        assert len(near) <= 5
        maps.append(array[near])
        targets.append(
            offsets(each.boxes_Nx4[near].astype(float), np.repeat(each.photograph.boxes_Nx4, len(near), 0))
        )
    maps, targets = np.concatenate(maps), np.concatenate(targets)
    scale = 20 / np.linalg.norm(np.concatenate(arrays), axis=1).mean()
    x, y = (maps - maps.mean(0)) * scale, targets - targets.mean(0)
    weights = np.linalg.solve(x.T @ x + 1000 * np.eye(8), x.T @ y).T * scale
    np.testing.assert_allclose(found.weights_Cx4xM[0], weights, rtol=0.05, atol=2e-3 * np.abs(weights).max())
    np.testing.assert_allclose(found.biases_Cx4[0], targets.mean(0) - weights @ maps.mean(0), atol=2e-3)


def test_a_class_without_examples_moves_no_box():
    examples, arrays = shifted(3)
    found = train_regression(examples, Features(examples, arrays), 2)
    boxes = np.array([[10.0, 20, 50, 60]])
    np.testing.assert_allclose(found(1, boxes, arrays[0][:1], (100, 100)), boxes)


def test_moved_boxes_stay_inside_whatever_the_features_are():
    examples, arrays = shifted(3)
    found = train_regression(examples, Features(examples, arrays), 2)
    wild = np.full((1, 8), 6e4, np.float16)
    [[x1, y1, x2, y2]] = found(0, np.array([[10.0, 20, 50, 60]]), wild, (90, 80))
    assert 0 <= x1 <= x2 <= 80
    assert 0 <= y1 <= y2 <= 90


def test_at_most_some_proposals_of_a_class_are_read(monkeypatch):
    monkeypatch.setattr(module, "_MOST", 7)
    rows = []

    class Counting(module.Ridge):
        def fit(self, x, y):
            rows.append(len(x))
            return super().fit(x, y)

    monkeypatch.setattr(module, "Ridge", Counting)
    examples, arrays = shifted(10)
    train_regression(examples, Features(examples, arrays), 1)
    assert rows == [7]
