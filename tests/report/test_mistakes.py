"""The confusions and the worst mistakes, against NumPy on all probabilities at once."""

import numpy as np
import pytest

from alexnet_jax import restore
from alexnet_jax.data.dataset import open_cache
from alexnet_jax.loops.train import train
from alexnet_jax.parallel.mesh import make_mesh
from alexnet_jax.report import mistakes
from alexnet_jax.training.scores import Result


@pytest.mark.parametrize(("devices", "views", "most"), [(1, 1, 5), (8, 10, 1000)])
def test_the_mistakes_of_one_pass_match_numpy(trained, devices, views, most):
    net = restore(trained, mesh=make_mesh(devices, 1))
    cache = open_cache(net.config.data, print)
    found = mistakes.find(net, cache, "test", views, most)  # 360 images, in batches of 16
    labels, probs = cache.labels["test"], net.predict_proba(cache.images["test"][:], views)
    guesses = probs.argmax(axis=1)
    confusion = [[np.sum((labels == i) & (guesses == j)) for j in range(10)] for i in range(10)]
    np.testing.assert_array_equal(found.confusion, confusion)
    wrong = np.flatnonzero(guesses != labels)
    assert len(wrong) > 5
    assert len(found.hardest) == len(found.surest) == min(most, len(wrong))
    if most > len(wrong):  # all mistakes, in any order
        assert set(found.hardest) == set(found.surest) == set(wrong)
    right = probs[np.arange(len(labels)), labels]
    surest_first = probs.max(axis=1)
    for rows, values in ((found.hardest, right), (found.surest, -surest_first)):
        np.testing.assert_allclose(values[rows], np.sort(values[wrong])[: len(rows)], rtol=1e-4)
    assert found.result.top1_error == pytest.approx(len(wrong) / 360)
    assert found.result.examples == found.confusion.sum() == 360
    assert found.result.loss == pytest.approx(-np.log(right).mean(), rel=1e-4)


def test_a_network_with_more_outputs_than_the_data_has_classes(tiny, five_classes, tmp_path):
    """Predictions that are no class of the data are errors, but no confusions."""
    tiny.data.source, tiny.num_steps = five_classes, 1
    train(tiny, str(tmp_path / "w"))
    net = restore(tmp_path / "w")
    cache = open_cache(net.config.data, print)
    found = mistakes.find(net, cache, "train", 1, 100)
    labels, probs = cache.labels["train"], net.predict_proba(cache.images["train"][:])
    guesses = probs.argmax(axis=1)
    assert found.unknown == np.sum(guesses >= 5)
    assert found.confusion.shape == (5, 5)
    assert found.confusion.sum() + found.unknown == len(labels)
    assert found.result.top1_error == pytest.approx(np.mean(guesses != labels))
    assert set(found.hardest) == set(np.flatnonzero(guesses != labels))


def test_the_most_frequent_confusions():
    confusion = np.array([[9, 1, 0], [3, 5, 0], [2, 1, 7]])
    found = mistakes.Mistakes(Result("test", 1, 28, 0.5, 0.25, 0.0), confusion, 0, np.empty(0), np.empty(0))
    assert found.pairs(3) == [(1, 0, 3), (2, 0, 2), (0, 1, 1)]
    assert len(found.pairs(20)) == 4
