"""Figure 4: the choice of test images, and the nearest training images against all distances in NumPy."""

import dataclasses
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_hex

from alexnet_jax import UserError, restore
from alexnet_jax.data.dataset import open_cache
from alexnet_jax.loops.predict import Guess, Prediction
from alexnet_jax.net.model import hidden
from alexnet_jax.paper import figure4
from alexnet_jax.paper.figure4 import Neighbours, choose, nearest
from alexnet_jax.report import page
from tests.conftest import HOSTILE_NAMES

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def net(trained):
    return restore(trained)


@pytest.fixture(scope="module")
def cache(net):
    return open_cache(net.config.data, print)


def features(net, images):
    centres = ((images.astype(np.float32) - net.data.mean_image) / 64)[:, :7, :7]
    return np.asarray(hidden(net.model, net.params, centres)).astype(np.float64)


def test_the_images_are_chosen_evenly_over_the_classes(cache):
    split, rows = choose(cache, 25)
    assert split == "test"
    labels = cache.labels["test"][rows]
    assert sorted(labels[:10]) == sorted(labels[10:20]) == list(range(10))
    assert len(set(labels[20:])) == 5
    assert len(set(rows)) == 25
    np.testing.assert_array_equal(choose(cache, 8)[1], rows[:8])
    assert not np.array_equal(choose(cache, 8, seed=1)[1], rows[:8])


def test_without_a_test_split_the_images_are_of_validation(cache):
    def only(*splits):
        info = dataclasses.replace(cache.info, splits={split: cache.info.splits[split] for split in splits})
        return dataclasses.replace(cache, info=info)

    assert choose(only("train", "validation"), 3)[0] == "validation"
    with pytest.raises(UserError, match="has only images for training"):
        choose(only("train"), 3)


def test_the_nearest_images_match_numpy(net, cache):
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


def test_a_training_image_is_nearest_to_itself(net, cache):
    rows = np.array([0, 700, 1292])
    found = nearest(net, cache, "train", rows, near=2)
    np.testing.assert_array_equal(found.near_rows[:, 0], rows)
    np.testing.assert_allclose(found.distances[:, 0], 0, atol=1e-6)
    assert (found.distances[:, 1] > 0.01).all()


def test_of_many_training_images_a_random_sample_is_searched(net, cache):
    split, rows = choose(cache, 2)
    found = nearest(net, cache, split, rows, near=400, most=300)
    assert found.searched == 300
    assert found.near_rows.shape == (2, 300)  # all that were searched
    assert len(set(found.near_rows[0])) == 300
    assert found.near_rows.max() > 1000  # the sample is from the whole split
    assert (np.diff(found.distances, axis=1) >= 0).all()


def prediction(right=None, path="folder/file.png"):
    guesses = tuple(Guess(i, f"n{i}", f"word {i}", 0.5 / (i + 1)) for i in range(5))
    return Prediction(path, RNG.integers(0, 256, (8, 8, 3), np.uint8), guesses, right)


def test_predictions_are_bars_and_the_right_class_has_another_colour():
    sixth = Guess(7, "n7", "word 7", 0.01)
    predictions = [
        prediction(),
        prediction(prediction().guesses[2]),
        prediction(sixth),
        prediction(),
        prediction(),
    ]
    figure = figure4.draw_predictions(predictions)
    assert len(figure.axes) == 2 * 2 * 4  # two rows of four, for images and for bars
    pictures = [ax for ax in figure.axes if ax.images]
    bars = [ax for ax in figure.axes if ax.patches]
    assert len(pictures) == len(bars) == 5
    for ax, expected in zip(pictures, predictions, strict=True):
        np.testing.assert_array_equal(ax.images[0].get_array(), expected.image)
    assert [ax.get_title() for ax in bars] == ["file.png", "word 2", "word 7", "file.png", "file.png"]
    colors = [[to_hex(bar.get_facecolor()) for bar in ax.patches] for ax in bars]
    other = colors[0][0]
    assert [[color != other for color in row] for row in colors[:3]] == [
        [False] * 5,
        [False, False, True, False, False],
        [False] * 5,
    ]
    widths = [bar.get_width() for bar in bars[0].patches]
    np.testing.assert_allclose(widths, [0.5, 0.25, 0.5 / 3, 0.125, 0.1])
    texts = [text.get_text() for text in bars[0].texts]
    assert texts[:4] == ["word 0", "50.0%", "word 1", "25.0%"]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
@pytest.mark.parametrize("kind", ["svg", "png", "pdf"])
def test_a_picture_is_well_formed_with_any_name(name, kind, tmp_path):
    figures = [
        figure4.draw_predictions([prediction(Guess(7, "n7", name, 0.01)), prediction(path=f"folder/{name}")]),
        figure4.draw_neighbours(neighbours(), [name] * 3),
    ]
    for figure in figures:
        page._save(figure, str(tmp_path / f"figure.{kind}"))
        if kind == "svg":
            ElementTree.parse(tmp_path / "figure.svg")


def neighbours():
    images = RNG.integers(0, 256, (2, 7, 8, 8, 3), np.uint8)
    return Neighbours(
        split="test",
        rows=np.arange(2),
        labels=np.array([0, 2]),
        images=images[:, 0],
        near_rows=np.zeros((2, 6), int),
        near_labels=np.array([[0, 0, 1, 0, 0, 0], [2, 2, 2, 2, 2, 1]]),
        near_images=images[:, 1:],
        distances=np.linspace(1, 200, 12).reshape(2, 6),
        searched=100,
    )


def test_each_test_image_has_a_row_with_its_neighbours(tmp_path):
    found = neighbours()
    images = np.concatenate([found.images[:, None], found.near_images], axis=1)
    figure = figure4.draw_neighbours(found, ["cat", "dog", "$\\emu"])
    assert len(figure.axes) == 2 * 7
    for ax, image in zip(figure.axes, images.reshape(14, 8, 8, 3), strict=True):
        np.testing.assert_array_equal(ax.images[0].get_array(), image)
    labels = [ax.get_xlabel() for ax in figure.axes]
    assert labels[:4] == ["cat", "1.00", "19.1", "dog, 37.2"]
    assert (labels[7], labels[13]) == ("$\\emu", "dog, 200")
    figure.savefig(tmp_path / "figure.png")
