"""Data augmentation (section 4.1), and the views of a test image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from alexnet_jax.data.augment import Statistics, crops_by_products, fixed_views, random_views, statistics
from alexnet_jax.data.augment import test_view as view_of

KEY = jax.random.key(0)
B = 256
# Every pixel holds its position: the row in red, the column in green.
POSITIONS = np.stack(np.broadcast_arrays(*np.meshgrid(np.arange(10), np.arange(10), indexing="ij"), 7), -1)
IMAGES = np.broadcast_to(POSITIONS, (B, 10, 10, 3)).astype(np.uint8)
ZERO = Statistics(np.zeros((10, 10, 3), np.float32), np.zeros((3, 3), np.float32))


@pytest.fixture
def data(tiny):
    tiny.data.image_size, tiny.data.crop_size, tiny.data.flip = 10, 8, True
    tiny.data.pixel_std, tiny.data.color_noise = 1.0, 0.0
    return tiny.data


def views(data, stats=ZERO, key=KEY, first=0, noise=0.0, images=IMAGES):
    return np.asarray(random_views(jnp.asarray(images), first, B, key, jnp.float32(noise), stats, data))


def corners_and_mirrors(found):
    mirrored = found[:, 0, 0, 1] > found[:, 0, -1, 1]
    return found[:, 0, 0, 0], np.minimum(found[:, 0, 0, 1], found[:, 0, -1, 1]), mirrored


def test_crops_are_whole_and_everywhere_and_half_are_mirrored(data):
    found = views(data)
    assert found.shape == (B, 8, 8, 3)
    top, left, mirrored = corners_and_mirrors(found)
    assert set(zip(top, left, strict=True)) == {(y, x) for y in range(3) for x in range(3)}
    assert mirrored.mean() == pytest.approx(0.5, abs=0.1)
    for i in range(B):
        crop = POSITIONS[int(top[i]) : int(top[i]) + 8, int(left[i]) : int(left[i]) + 8]
        np.testing.assert_array_equal(found[i], crop[:, ::-1] if mirrored[i] else crop)


def test_nothing_is_mirrored_without_flip(data):
    data.flip = False
    assert not corners_and_mirrors(views(data))[2].any()


def test_without_random_crops_only_the_centre_is_used(data):
    data.random_crops = False
    top, left, mirrored = corners_and_mirrors(views(data))
    assert (set(top), set(left)) == ({1}, {1})
    assert not mirrored.any()


def test_draws_depend_only_on_the_position_and_the_step(data):
    data.color_noise = 0.1
    stats = Statistics(ZERO.mean_HxWx3, np.eye(3, dtype=np.float32))
    whole = views(data, stats, noise=0.1)
    half = views(data, stats, noise=0.1, first=128, images=IMAGES[:128])
    np.testing.assert_array_equal(whole[128:], half)
    assert not np.array_equal(whole, views(data, stats, key=jax.random.key(1), noise=0.1))


def test_32_images_share_a_crop_as_in_the_authors_code(data):
    data.images_per_crop = 32
    top, left, mirrored = corners_and_mirrors(views(data))
    draws = list(zip(top, left, mirrored, strict=True))
    assert all(len(set(draws[i : i + 32])) == 1 for i in range(0, B, 32))
    assert len(set(draws)) > 1


def test_crops_of_random_area_and_shape_are_like_those_of_torchvision(data):
    data.crop_scale, data.image_size = (0.08, 1.0), 64
    positions = np.stack(
        np.broadcast_arrays(*np.meshgrid(np.arange(64), np.arange(64), indexing="ij"), 7), -1
    )
    images = np.broadcast_to(positions, (B, 64, 64, 3)).astype(np.uint8)
    stats = Statistics(np.zeros((64, 64, 3), np.float32), ZERO.color_3x3)
    found = views(data, stats, images=images)
    assert found.shape == (B, 8, 8, 3)
    np.testing.assert_allclose(found[..., 2], 7, atol=1e-3)  # nothing is lost or added
    # The slopes give the size of each box: its height and width are those of eight pixels of the view.
    height, width = (
        8 * np.abs(np.diff(found[..., i], axis=i + 1)[:, 2:-2, 2:-2]).mean((1, 2)) for i in (0, 1)
    )
    area, ratio = height * width / 64**2, width / height
    assert 0.07 < area.min() < 0.15
    assert 0.85 < area.max() <= 1.02
    assert area.mean() == pytest.approx(0.5, abs=0.06)  # a little below 0.54: wide boxes do not fit
    assert 0.73 < ratio.min() < 0.8
    assert 1.25 < ratio.max() < 1.36
    assert np.median(ratio) == pytest.approx(1, abs=0.06)
    assert (found[:, 4, 0, 1] > found[:, 4, -1, 1]).mean() == pytest.approx(0.5, abs=0.1)  # mirrored
    centre = found[:, 3:5, 3:5, :2].mean((1, 2))
    assert np.all(np.abs(centre.mean(0) - 31.5) < 3)
    assert np.all(centre.std(0) > 5)


def test_the_mean_is_subtracted_where_the_crop_lies(data):
    stats = Statistics(POSITIONS.astype(np.float32), ZERO.color_3x3)
    np.testing.assert_array_equal(views(data, stats), 0)


def test_colour_shifts_an_image_by_the_components_times_alpha(data):
    covariance = np.array([[900.0, 800, 700], [800, 1000, 850], [700, 850, 1100]])
    data.color_noise = 0.1
    stats = statistics(np.zeros((10, 10, 3)), covariance, "standard_deviation")
    black = np.zeros_like(IMAGES)
    many = np.concatenate(
        [views(data, stats, key=jax.random.key(i), noise=0.1, images=black)[:, 0, 0] for i in range(20)]
    )
    assert np.all(views(data, stats, noise=0.1, images=black).std(axis=(1, 2)) < 1e-4)  # one shift an image
    # P (a * standard deviation) has the covariance of the pixels, times the variance of a
    np.testing.assert_allclose(np.cov(many.T), 0.01 * covariance, rtol=0.15)


def test_the_literal_reading_of_the_paper_scales_by_the_variance():
    covariance = np.diag([4.0, 9.0, 16.0])
    lengths = {
        reading: np.linalg.norm(statistics(np.zeros((1, 1, 3)), covariance, reading).color_3x3, axis=1)
        for reading in ("standard_deviation", "variance")
    }
    np.testing.assert_allclose(lengths["standard_deviation"], [2, 3, 4], rtol=1e-6)
    np.testing.assert_allclose(lengths["variance"], [4, 9, 16], rtol=1e-6)


def test_noisy_images_are_shrunk_as_in_the_authors_code(data):
    data.shrink_by_noise, data.color_noise = True, 0.1
    np.testing.assert_allclose(views(data, noise=0.1) * 1.1, views(data, noise=0.0), rtol=1e-6)


def test_ten_views_are_corners_centre_and_their_mirrors():
    table = fixed_views(256, 256, 224, 10, flip=True)
    corners = [(0, 0), (0, 32), (32, 0), (32, 32), (16, 16)]
    assert table.tolist() == [[y, x, m] for m in (0, 1) for y, x in corners]
    assert fixed_views(256, 256, 224, 1, flip=True).tolist() == [[16, 16, 0]]
    assert len(fixed_views(256, 256, 224, 10, flip=False)) == 5


def test_a_test_view_is_its_crop(data):
    view = np.asarray(view_of(jnp.asarray(IMAGES[:2]), jnp.array([1, 2, 1]), ZERO, data))
    np.testing.assert_array_equal(view[1], POSITIONS[1:9, 2:10][:, ::-1])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_crops_by_products_equal_slices_exactly(dtype):
    images = jnp.asarray(np.random.default_rng(0).normal(size=(4, 9, 8, 3)), jnp.float32).astype(dtype)
    corners, mirrored = jnp.array([[0, 0], [3, 2], [1, 2], [2, 1]]), jnp.array([False, True, False, True])

    def sliced(image, corner, mirror):
        crop = lax.dynamic_slice(image, (corner[0], corner[1], 0), (6, 6, 3))
        return jnp.where(mirror, crop[:, ::-1], crop)

    expected = jax.vmap(sliced)(images, corners, mirrored)
    assert jnp.array_equal(crops_by_products(images, corners, mirrored, 6), expected)
