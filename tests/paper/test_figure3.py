"""The pictures: what stands where, and that it is what the arrays say."""

import dataclasses

import numpy as np
import pytest
from matplotlib.colors import to_hex

from alexnet_jax import UserError, build, restore
from alexnet_jax.layers import Local
from alexnet_jax.loops.predict import Guess, Prediction
from alexnet_jax.paper import figures
from alexnet_jax.paper.neighbours import Neighbours

RNG = np.random.default_rng(0)


def test_color_is_the_energy_off_the_grey_axis():
    kernel = RNG.normal(size=(2, 5, 5, 3, 7)).astype(np.float32)
    of_towers, shares = figures.color_shares(kernel)
    assert (of_towers.shape, shares.shape) == ((2,), (2, 7))
    grey = np.ones(3) / np.sqrt(3)
    for tower in range(2):
        for i in range(7):
            pixels = kernel[tower, ..., i].reshape(-1, 3).astype(float)
            off = pixels - (pixels @ grey)[:, None] * grey
            assert shares[tower, i] == pytest.approx((off**2).sum() / (pixels**2).sum())
        energy = (kernel[tower].astype(float) ** 2).sum((0, 1, 2))
        assert of_towers[tower] == pytest.approx((energy * shares[tower]).sum() / energy.sum())


def test_color_of_kernels_that_are_known():
    grey = np.repeat(RNG.normal(size=(1, 3, 3, 1, 50)), 3, axis=3)
    color = RNG.normal(size=(1, 3, 3, 3, 50))
    color -= color.mean(axis=3, keepdims=True)
    for share in figures.color_shares(grey):
        np.testing.assert_allclose(share, 0, atol=1e-12)
    for share in figures.color_shares(color):
        np.testing.assert_allclose(share, 1)
    color *= np.sqrt((grey**2).sum((1, 2, 3)) / (color**2).sum((1, 2, 3)))  # as much of it
    np.testing.assert_allclose(figures.color_shares(grey + color)[1], 0.5)
    assert figures.color_shares(np.zeros((1, 3, 3, 3, 1))) == (0, 0)
    of_towers, _ = figures.color_shares(RNG.normal(size=(1, 3, 3, 3, 5000)))
    assert of_towers == pytest.approx(2 / 3, abs=0.01)


@pytest.mark.parametrize(
    ("towers", "maps", "side", "rows", "columns"),
    [(2, 48, 11, 3, 16), (1, 96, 11, 6, 16), (2, 24, 3, 2, 12), (4, 6, 3, 1, 6), (1, 17, 5, 2, 9)],
)
def test_a_mosaic_of_kernels_for_each_tower(towers, maps, side, rows, columns):
    kernel = RNG.normal(size=(towers, side, side, 3, maps))
    figure = figures.draw_kernels(kernel)
    assert len(figure.axes) == towers
    tops = [ax.get_position().y0 for ax in figure.axes]
    assert tops == sorted(tops, reverse=True)  # tower 1 above tower 2
    for ax, of_tower, share in zip(figure.axes, kernel, figures.color_shares(kernel)[0], strict=True):
        mosaic = np.asarray(ax.images[0].get_array())
        height, width = mosaic.shape[0] // rows, mosaic.shape[1] // columns
        assert mosaic.shape == (height * rows, width * columns, 3)
        assert height == width > side
        for i in range(rows * columns):
            top, left = i // columns * height, i % columns * width
            tile = mosaic[top : top + height, left : left + width]
            if i >= maps:
                assert (tile == 1).all()  # nothing there
                continue
            w = of_tower[..., i]
            inner = tile[3:-3, 3:-3]
            enlarged = len(inner) // side
            np.testing.assert_allclose(inner[::enlarged, ::enlarged], 0.5 + 0.5 * w / np.abs(w).max())
            assert (tile[0] == 1).all()
            assert (tile[:, 0] == 1).all()  # white between them
        assert f"{share:.0%}" in ax.get_title()


def test_a_kernel_of_zeros_is_grey():
    mosaic = np.asarray(figures.draw_kernels(np.zeros((1, 3, 3, 3, 2))).axes[0].images[0].get_array())
    assert set(np.unique(mosaic)) == {0.5, 1.0}


def test_the_first_kernels_are_those_that_read_the_image(trained):
    net = restore(trained)
    np.testing.assert_array_equal(figures.first_kernels(net), net.params["conv1"]["kernel"])


def test_a_net_without_a_convolution_of_the_image_is_a_line(trained, tiny):
    tiny.net.layers = (Local("local1", features=2, kernel=3), *tiny.net.layers[4:])  # conv2 reads local1
    model = build(tiny)
    net = dataclasses.replace(restore(trained), model=model, params=None)
    with pytest.raises(UserError, match="this net has none"):
        figures.first_kernels(net)


def prediction(right=None, path="folder/file.png"):
    guesses = tuple(Guess(i, f"n{i}", f"word {i}", 0.5 / (i + 1)) for i in range(5))
    return Prediction(path, RNG.integers(0, 256, (8, 8, 3), np.uint8), guesses, right)


def test_bars_and_the_right_class():
    sixth = Guess(7, "n7", "word 7", 0.01)
    predictions = [
        prediction(),
        prediction(prediction().guesses[2]),
        prediction(sixth),
        prediction(),
        prediction(),
    ]
    figure = figures.draw_predictions(predictions)
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


def test_a_row_for_each_test_image_and_its_neighbours(tmp_path):
    images = RNG.integers(0, 256, (2, 7, 8, 8, 3), np.uint8)
    found = Neighbours(
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
    figure = figures.draw_neighbours(found, ["cat", "dog", "$\\emu"])
    assert len(figure.axes) == 2 * 7
    for ax, image in zip(figure.axes, images.reshape(14, 8, 8, 3), strict=True):
        np.testing.assert_array_equal(ax.images[0].get_array(), image)
    labels = [ax.get_xlabel() for ax in figure.axes]
    assert labels[:4] == ["cat", "1.00", "19.1", "dog, 37.2"]
    assert (labels[7], labels[13]) == ("$\\emu", "dog, 200")
    figure.savefig(tmp_path / "figure.png")
