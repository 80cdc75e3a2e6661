"""Data augmentation on the device (section 4.1): from uint8 images to the inputs of the network.

Every draw is a function of the seed, the step and the position in the global batch. The views of a test image
are its four corners, its centre, and their mirror images.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from ml_collections import ConfigDict

from alexnet_jax.config.checks import MOST_STEPS
from alexnet_jax.net.draws import named_key


@partial(jax.tree_util.register_dataclass, data_fields=["mean_HxWx3", "color_3x3"], meta_fields=[])
@dataclasses.dataclass(frozen=True)
class Statistics:
    """Statistics of the training set.

    Attributes:
      mean_HxWx3: the mean image, in grey levels.
      color_3x3: array whose row i is the i-th principal component of RGB over all pixels, times its standard
        deviation (or its variance, see ``data.color_noise_reading``).
    """

    mean_HxWx3: jax.Array | np.ndarray
    color_3x3: jax.Array | np.ndarray


def statistics(mean_HxWx3: np.ndarray, covariance_3x3: np.ndarray, reading: str) -> Statistics:
    """Compute the statistics that augmentation needs, as NumPy arrays.

    Args:
      mean_HxWx3: the mean image, in grey levels.
      covariance_3x3: covariance of RGB over all pixels, in squared grey levels.
      reading: ``config.data.color_noise_reading``.
    """
    variances, vectors = np.linalg.eigh(covariance_3x3)
    variances = np.maximum(variances, 0.0)  # if all images are grey, two are zero except for rounding
    color_3x3 = (vectors * (np.sqrt(variances) if reading == "standard_deviation" else variances)).T
    return Statistics(mean_HxWx3.astype(np.float32), color_3x3.astype(np.float32))


def color_noise(data: ConfigDict, steps_per_epoch: int, step: jax.Array) -> jax.Array:
    """Return the standard deviation of the alphas in the update from ``step`` to ``step + 1``."""
    if data.color_noise_epochs is None:
        return jnp.float32(data.color_noise)
    end = min(round(data.color_noise_epochs * steps_per_epoch), MOST_STEPS)
    return jnp.where(step < end, data.color_noise, 0.0)


def random_views(
    images_BxHxWx3: jax.Array,
    first: jax.Array | int,
    batch_size: int,
    key: jax.Array,
    color_noise: jax.Array,
    statistics: Statistics,
    data: ConfigDict,
    dtype: jax.typing.DTypeLike = jnp.float32,
) -> jax.Array:
    """Crop each image at random, mirror half of them, subtract the mean and shift the colours.

    Every device draws the random numbers for the global batch, because they are few.

    Args:
      images_BxHxWx3: this device's part of the batch, uint8 as in the cache.
      first: position of the first of these images in the global batch.
      batch_size: size of the global batch.
      key: random key of this step.
      color_noise: standard deviation of the alphas; 0 for none.
      statistics: statistics of the training set.
      data: ``config.data``.
      dtype: type of the views.

    Returns:
      Views of shape (part of the batch, crop_size, crop_size, 3), in grey levels divided by ``pixel_std``.
    """
    positions_B = first + jnp.arange(len(images_BxHxWx3))
    height, width = images_BxHxWx3.shape[1:3]
    crops = -(-batch_size // data.images_per_crop)
    mirrors = data.flip and data.random_crops
    mirrored_B = jax.random.bernoulli(named_key(key, "mirror"), 0.5 if mirrors else 0.0, (crops,))
    crop_B = positions_B // data.images_per_crop

    def with_color_noise(views: jax.Array) -> jax.Array:
        if data.color_noise:
            alphas_Bx3 = (
                color_noise * jax.random.normal(named_key(key, "color"), (batch_size, 3))[positions_B]
            )
            shift_Bx3 = jnp.sum(alphas_Bx3[:, :, None] * statistics.color_3x3, axis=1)
            views = views + shift_Bx3[:, None, None, :]
            if data.shrink_by_noise:
                views = views / (1 + color_noise)
        return (views / data.pixel_std).astype(dtype)

    if data.crop_scale:
        boxes_Bx4 = _random_boxes(named_key(key, "box"), crops, height, width, data.crop_scale)
        resized = jax.vmap(partial(_resized_view, statistics=statistics, size=data.crop_size))
        return with_color_noise(resized(images_BxHxWx3, boxes_Bx4[crop_B], mirrored_B[crop_B]))
    last = jnp.array([height - data.crop_size, width - data.crop_size])
    if data.random_crops:
        corners_Bx2 = jax.random.randint(named_key(key, "corner"), (crops, 2), 0, last + 1)
    else:
        corners_Bx2 = jnp.broadcast_to(last // 2, (crops, 2))

    def sliced(images_BxHxWx3: jax.Array, corners_Bx2: jax.Array, mirrored_B: jax.Array) -> jax.Array:
        view = jax.vmap(partial(_view, statistics=statistics, size=data.crop_size))
        return with_color_noise(view(images_BxHxWx3, corners_Bx2, mirrored_B))

    def multiplied(images_BxHxWx3: jax.Array, corners_Bx2: jax.Array, mirrored_B: jax.Array) -> jax.Array:
        whole = with_color_noise(images_BxHxWx3.astype(jnp.float32) - statistics.mean_HxWx3)
        return crops_by_products(whole, corners_Bx2, mirrored_B, data.crop_size)

    views: jax.Array = lax.platform_dependent(
        images_BxHxWx3, corners_Bx2[crop_B], mirrored_B[crop_B], tpu=multiplied, default=sliced
    )
    return views


def _random_boxes(
    key: jax.Array, count: int, height: int, width: int, scale: tuple[float, float], tries: int = 10
) -> jax.Array:
    """Draw boxes (top, left, height, width), of shape (count, 4), as torchvision's `RandomResizedCrop` does.

    The area is uniform between the fractions ``scale`` of the image's area, and the aspect ratio is between
    3:4 and 4:3. The box is the first of ten tries that fits, or else the whole image.
    """
    area_key, shape_key, corner_key = jax.random.split(key, 3)
    area_BxT = jax.random.uniform(area_key, (count, tries), minval=scale[0], maxval=scale[1]) * height * width
    limit = np.log(4 / 3)
    ratio_BxT = jnp.exp(jax.random.uniform(shape_key, (count, tries), minval=-limit, maxval=limit))
    sizes_BxTx2 = jnp.stack([jnp.sqrt(area_BxT / ratio_BxT), jnp.sqrt(area_BxT * ratio_BxT)], axis=-1)
    whole_2 = jnp.array([height, width], jnp.float32)
    fits_BxT = jnp.all(sizes_BxTx2 <= whole_2, axis=-1)
    chosen_Bx2 = jnp.take_along_axis(sizes_BxTx2, jnp.argmax(fits_BxT, axis=1)[:, None, None], axis=1)[:, 0]
    sizes_Bx2 = jnp.where(jnp.any(fits_BxT, axis=1)[:, None], chosen_Bx2, whole_2)
    corners_Bx2 = jax.random.uniform(corner_key, (count, 2)) * (whole_2 - sizes_Bx2)
    return jnp.concatenate([corners_Bx2, sizes_Bx2], axis=1)


def fixed_views(height: int, width: int, size: int, views: int, flip: bool) -> np.ndarray:
    """Return (top, left, mirrored) of each test view: the centre, or all ten (five without mirror images)."""
    bottom, right = height - size, width - size
    centre = (bottom // 2, right // 2)
    if views == 1:
        return np.array([(*centre, 0)], np.int32)
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), centre]
    return np.array([(*corner, mirrored) for mirrored in range(1 + flip) for corner in corners], np.int32)


def test_view(
    images_BxHxWx3: jax.Array, view_3: jax.Array, statistics: Statistics, data: ConfigDict
) -> jax.Array:
    """Take one of the `fixed_views` of every image, subtract the mean and divide by ``pixel_std``."""
    views = jax.vmap(partial(_view, statistics=statistics, size=data.crop_size), (0, None, None))(
        images_BxHxWx3, view_3[:2], view_3[2] > 0
    )
    return views / data.pixel_std


def _view(
    image_HxWx3: jax.Array, corner_2: jax.Array, mirrored: jax.Array, statistics: Statistics, size: int
) -> jax.Array:
    """Crop an image, and subtract the same crop of the mean."""
    crop, mean = (
        lax.dynamic_slice(x, (corner_2[0], corner_2[1], 0), (size, size, 3))
        for x in (image_HxWx3, statistics.mean_HxWx3)
    )
    centred = crop.astype(jnp.float32) - mean
    return jnp.where(mirrored, centred[:, ::-1], centred)


def _resized_view(
    image_HxWx3: jax.Array, box_4: jax.Array, mirrored: jax.Array, statistics: Statistics, size: int
) -> jax.Array:
    """Subtract the mean from an image, cut out a box, and rescale it with antialiasing."""
    centred = image_HxWx3.astype(jnp.float32) - statistics.mean_HxWx3
    scale_2 = size / box_4[2:]
    view = jax.image.scale_and_translate(
        centred, (size, size, 3), (0, 1), scale_2, -box_4[:2] * scale_2, method="linear"
    )
    return jnp.where(mirrored, view[:, ::-1], view)


def crops_by_products(
    images_BxHxWxC: jax.Array, corners_Bx2: jax.Array, mirrored_B: jax.Array, size: int
) -> jax.Array:
    """Crop each image, and mirror some, by matrix products with zeros and ones. This version is for TPUs.

    The products are exact, because each row has a single one. On a TPU, slices with a different start for
    each image would run as a loop over the images, and give an array in a layout that convolutions can't
    read.
    """
    _, height, width, _ = images_BxHxWxC.shape
    positions = jnp.arange(size)
    rows_BxS = corners_Bx2[:, :1] + positions
    columns_BxS = corners_Bx2[:, 1:] + jnp.where(mirrored_B[:, None], positions[::-1], positions)
    # A TPU would round float32 to bfloat16 for the product.
    precision = lax.Precision.HIGHEST if images_BxHxWxC.dtype == jnp.float32 else lax.Precision.DEFAULT

    def taken(pattern: str, positions_BxS: jax.Array, count: int, x: jax.Array) -> jax.Array:
        chosen_BxSxN = jax.nn.one_hot(positions_BxS, count, dtype=x.dtype)
        return jnp.einsum(pattern, chosen_BxSxN, x, precision=precision)

    x = taken("bsh,bhwc->bswc", rows_BxS, height, images_BxHxWxC)
    return taken("bsw,bhwc->bhsc", columns_BxS, width, x)
