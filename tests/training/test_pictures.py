"""The pictures of an evaluation: the kernels and the hardest mistakes."""

import numpy as np
import pytest

from alexnet_jax import restore
from alexnet_jax.data.dataset import open_cache
from alexnet_jax.loops.evaluate import error_rates
from alexnet_jax.parallel import hosts
from alexnet_jax.parallel.mesh import make_mesh
from alexnet_jax.training.hardest import Hardest
from alexnet_jax.training.pictures import captioned, pictures


@pytest.mark.parametrize("devices", [1, 8])
def test_an_evaluation_collects_the_mistakes_that_numpy_finds(trained, devices):
    net = restore(trained, mesh=make_mesh(devices, 1))
    cache, hardest = open_cache(net.config.data, print), Hardest(20)
    member = net.log_probabilities
    error_rates([lambda images: member(images, 1)], cache, "test", 1, 32, net.mesh, hardest)
    labels, probs = cache.labels["test"], net.predict_proba(cache.images["test"][:])
    wrong = np.flatnonzero(probs.argmax(axis=1) != labels)
    right = probs[wrong, labels[wrong]]
    found = hardest.gathered()
    assert [each.row for each in found] == wrong[np.argsort(right, kind="stable")[:20]].tolist()
    for each in found:
        assert each.guess == probs[each.row].argmax()
        assert each.probability == pytest.approx(probs[each.row].max(), rel=1e-4)
        assert each.loss == pytest.approx(-np.log(probs[each.row, labels[each.row]]), rel=1e-4)

    drawn = pictures(net.model, net.params, cache, "test", hardest)
    assert drawn.keys() == {"pictures/kernels", "pictures/mistakes"}
    for picture in drawn.values():
        assert picture.dtype == np.uint8
        assert picture.shape[2] == 3
    first = cache.images["test"][:][found[0].row]
    np.testing.assert_array_equal(drawn["pictures/mistakes"][7:112:14, 7:112:14], first)  # 8 x 8, enlarged


def test_nothing_is_drawn_if_it_is_off_or_on_another_process(trained, monkeypatch):
    net = restore(trained)
    assert pictures(net.model, net.params, None, "test", Hardest(0)) == {}
    monkeypatch.setattr(hosts, "is_first", lambda: False)
    assert pictures(net.model, net.params, None, "test", Hardest(5)) == {}


def test_a_network_without_mistakes_has_a_picture_of_its_kernels(trained):
    net = restore(trained)
    assert pictures(net.model, net.params, None, "test", Hardest(5)).keys() == {"pictures/kernels"}


@pytest.mark.parametrize(("count", "shape"), [(1, (144, 118, 3)), (6, (144, 708, 3)), (7, (288, 708, 3))])
def test_long_and_hostile_names_stay_in_their_cells(count, shape):
    images = np.zeros((count, 300, 300, 3), np.uint8)
    drawn = captioned(images, [("a very long name of a class, and more", "\x1b]0;x\x07\u202egpj\n")] * count)
    assert drawn.shape == shape
    white = (drawn == 255).all(axis=2)
    assert white[:, 112:118].all()  # the gap
    assert not white[112:138, :112].all()
    assert (drawn[:112, :112] == 0).all()
