"""Figure 3: the drawn kernels, and their share of colour."""

import dataclasses

import numpy as np
import pytest

from alexnet_jax import UserError, build, restore
from alexnet_jax.layers import Local
from alexnet_jax.paper import figure3

RNG = np.random.default_rng(0)


def test_the_share_of_colour_is_the_energy_off_the_grey_axis():
    kernel = RNG.normal(size=(2, 5, 5, 3, 7)).astype(np.float32)
    of_towers, shares = figure3.color_shares(kernel)
    assert (of_towers.shape, shares.shape) == ((2,), (2, 7))
    grey = np.ones(3) / np.sqrt(3)
    for tower in range(2):
        for i in range(7):
            pixels = kernel[tower, ..., i].reshape(-1, 3).astype(float)
            off = pixels - (pixels @ grey)[:, None] * grey
            assert shares[tower, i] == pytest.approx((off**2).sum() / (pixels**2).sum())
        energy = (kernel[tower].astype(float) ** 2).sum((0, 1, 2))
        assert of_towers[tower] == pytest.approx((energy * shares[tower]).sum() / energy.sum())


def test_the_share_of_colour_of_known_kernels():
    grey = np.repeat(RNG.normal(size=(1, 3, 3, 1, 50)), 3, axis=3)
    color = RNG.normal(size=(1, 3, 3, 3, 50))
    color -= color.mean(axis=3, keepdims=True)
    for share in figure3.color_shares(grey):
        np.testing.assert_allclose(share, 0, atol=1e-12)
    for share in figure3.color_shares(color):
        np.testing.assert_allclose(share, 1)
    color *= np.sqrt((grey**2).sum((1, 2, 3)) / (color**2).sum((1, 2, 3)))  # as much energy as the grey part
    np.testing.assert_allclose(figure3.color_shares(grey + color)[1], 0.5)
    assert figure3.color_shares(np.zeros((1, 3, 3, 3, 1))) == (0, 0)
    of_towers, _ = figure3.color_shares(RNG.normal(size=(1, 3, 3, 3, 5000)))
    assert of_towers == pytest.approx(2 / 3, abs=0.01)


@pytest.mark.parametrize(
    ("towers", "kernels", "side", "rows", "columns"),
    [(2, 48, 11, 3, 16), (1, 96, 11, 6, 16), (2, 24, 3, 2, 12), (4, 6, 3, 1, 6), (1, 17, 5, 2, 9)],
)
def test_each_tower_has_a_mosaic_of_its_kernels(towers, kernels, side, rows, columns):
    kernel = RNG.normal(size=(towers, side, side, 3, kernels))
    figure = figure3.draw_kernels(kernel)
    assert len(figure.axes) == towers
    tops = [ax.get_position().y0 for ax in figure.axes]
    assert tops == sorted(tops, reverse=True)  # tower 1 above tower 2
    for ax, of_tower, share in zip(figure.axes, kernel, figure3.color_shares(kernel)[0], strict=True):
        mosaic = np.asarray(ax.images[0].get_array())
        height, width = mosaic.shape[0] // rows, mosaic.shape[1] // columns
        assert mosaic.shape == (height * rows, width * columns, 3)
        assert height == width > side
        for i in range(rows * columns):
            top, left = i // columns * height, i % columns * width
            tile = mosaic[top : top + height, left : left + width]
            if i >= kernels:
                assert (tile == 1).all()  # empty
                continue
            w = of_tower[..., i]
            inner = tile[3:-3, 3:-3]
            enlarged = len(inner) // side
            np.testing.assert_allclose(inner[::enlarged, ::enlarged], 0.5 + 0.5 * w / np.abs(w).max())
            assert (tile[0] == 1).all()
            assert (tile[:, 0] == 1).all()  # white between them
        assert f"{share:.0%}" in ax.get_title()


def test_a_kernel_of_zeros_is_grey():
    mosaic = np.asarray(figure3.draw_kernels(np.zeros((1, 3, 3, 3, 2))).axes[0].images[0].get_array())
    assert set(np.unique(mosaic)) == {0.5, 1.0}


def test_the_first_kernels_are_those_that_read_the_image(trained):
    net = restore(trained)
    np.testing.assert_array_equal(figure3.first_kernels(net), net.params["conv1"]["kernel"])


def test_a_network_without_a_convolution_of_the_image_is_refused(trained, tiny):
    tiny.net.layers = (Local("local1", features=2, kernel=3), *tiny.net.layers[4:])  # conv2 reads local1
    model = build(tiny)
    net = dataclasses.replace(restore(trained), model=model, params=None)
    with pytest.raises(UserError, match="this network has none"):
        figure3.first_kernels(net)
