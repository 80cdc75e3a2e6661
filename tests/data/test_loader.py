"""Training batches follow from (seed, step), and test batches hold every example once."""

import threading

import numpy as np
import pytest

from alexnet_jax.data.dataset import open_cache
from alexnet_jax.data.loader import test_batches as batches_of
from alexnet_jax.data.loader import training_batches
from alexnet_jax.parallel.mesh import make_mesh


@pytest.fixture
def cache(tiny):
    return open_cache(tiny.data, print)


def test_starting_in_the_middle_gives_the_same_data(tiny, cache):
    mesh = make_mesh(1, 1)
    whole = [np.asarray(images) for images, _ in training_batches(cache, tiny, mesh, 0, 90)]
    rest = [np.asarray(images) for images, _ in training_batches(cache, tiny, mesh, 80, 90)]
    np.testing.assert_array_equal(whole[80:], rest)


def test_labels_belong_to_their_images(tiny, cache):
    images, labels = next(training_batches(cache, tiny, make_mesh(2, 1), 0, 1))
    for image, label in zip(np.asarray(images), np.asarray(labels), strict=True):
        row = np.flatnonzero((cache.images["train"][:] == image).all((1, 2, 3)))
        assert label in cache.labels["train"][row]


@pytest.mark.parametrize("batch_size", [1, 7, 144, 200])
@pytest.mark.parametrize("shards", [1, 4])
def test_every_example_once_and_in_order(cache, batch_size, shards):
    batches = [np.asarray(x) for _, x in batches_of(cache, "validation", batch_size, make_mesh(shards, 1))]
    assert len({len(batch) for batch in batches}) == 1
    assert len(batches[0]) % shards == 0
    np.testing.assert_array_equal(np.concatenate(batches)[:144], cache.labels["validation"])
    assert sum(map(len, batches)) - 144 < len(batches[0])


def test_closing_a_loader_ends_its_threads(tiny, cache):
    def loading():
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("loader")]

    batches = training_batches(cache, tiny, make_mesh(1, 1), 0, 10_000)
    next(batches)
    assert loading()
    batches.close()
    assert not loading()
