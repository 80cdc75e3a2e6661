"""Which test images are shown, and the training images nearest to them, against all distances in NumPy."""

import dataclasses

import numpy as np
import pytest

from alexnet_jax import UserError, apply, restore
from alexnet_jax.data.dataset import open_cache
from alexnet_jax.paper.neighbours import choose, nearest


@pytest.fixture(scope="module")
def net(trained):
    return restore(trained)


@pytest.fixture(scope="module")
def cache(net):
    return open_cache(net.config.data, print)


def features(net, images):
    centres = ((images.astype(np.float32) - net.data.mean_image) / 64)[:, :7, :7]
    return np.asarray(apply(net.model, net.params, centres, features=True)).astype(np.float64)


def test_the_images_are_chosen_evenly_over_the_classes(cache):
    split, rows = choose(cache, 25)
    assert split == "test"
    labels = cache.labels["test"][rows]
    assert sorted(labels[:10]) == sorted(labels[10:20]) == list(range(10))
    assert len(set(labels[20:])) == 5
    assert len(set(rows)) == 25
    np.testing.assert_array_equal(choose(cache, 8)[1], rows[:8])
    assert not np.array_equal(choose(cache, 8, seed=1)[1], rows[:8])


def test_where_there_is_no_test_split_it_is_validation(cache):
    def only(*splits):
        return dataclasses.replace(cache, labels={split: cache.labels[split] for split in splits})

    assert choose(only("train", "validation"), 3)[0] == "validation"
    with pytest.raises(UserError, match="neither test nor validation images"):
        choose(only("train"), 3)


def test_the_nearest_by_all_distances(net, cache):
    split, rows = choose(cache, 5)
    found = nearest(net, cache, split, rows)
    test, train = cache.images["test"][rows], cache.images["train"][:]
    differences = features(net, test)[:, None] - features(net, train)
    distances = np.sqrt((differences**2).sum(-1))
    expected = np.argsort(distances, axis=1)[:, :6]
    np.testing.assert_allclose(found.distances, np.sort(distances, axis=1)[:, :6], rtol=1e-4)
    np.testing.assert_array_equal(found.near_rows, expected)
    np.testing.assert_array_equal(found.near_labels, cache.labels["train"][expected])
    np.testing.assert_array_equal(found.near_images, train[expected])
    np.testing.assert_array_equal(found.labels, cache.labels["test"][rows])
    np.testing.assert_array_equal(found.images, test)
    assert (found.split, found.searched) == ("test", len(train))


def test_a_training_image_is_its_own_nearest(net, cache):
    rows = np.array([0, 700, 1292])
    found = nearest(net, cache, "train", rows, near=2)
    np.testing.assert_array_equal(found.near_rows[:, 0], rows)
    np.testing.assert_allclose(found.distances[:, 0], 0, atol=1e-6)
    assert (found.distances[:, 1] > 0.01).all()


def test_of_many_training_images_some_are_looked_at(net, cache):
    split, rows = choose(cache, 2)
    found = nearest(net, cache, split, rows, near=400, most=300)
    assert found.searched == 300
    assert found.near_rows.shape == (2, 300)  # there are no more
    assert len(set(found.near_rows[0])) == 300
    assert found.near_rows.max() > 1000  # from all of the set, whatever its order
    assert (np.diff(found.distances, axis=1) >= 0).all()
