"""Each way to make squares of images. `test_images` compares ``crop`` with section 2 of the paper."""

import io

import numpy as np
import pytest
from PIL import Image

from alexnet_jax.data.images import square
from tests import odd_images


def scene(width, height, mode="RGB"):
    return Image.fromarray(odd_images.scene()).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


SIZES = [(64, 64), (91, 64), (64, 103), (200, 131), (131, 200), (57, 40), (64, 30)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_squash_keeps_all_of_an_image(size, mode):
    image = scene(*size, mode)
    found, enlarged = square(odd_images.file(image, "PNG"), 64, "squash")
    method = Image.Resampling.BICUBIC if min(size) < 64 else Image.Resampling.BOX
    np.testing.assert_array_equal(found, image.convert("RGB").resize((64, 64), method))
    assert enlarged == (min(size) < 64)


def as_torchvision(image, size):
    """Follow torchvision: the longer side is rounded down; a corner at half a pixel, to an even number."""
    width, height = image.size
    longer = int(size * max(width, height) / min(width, height))
    scaled = image.resize((size, longer) if width <= height else (longer, size), Image.Resampling.BILINEAR)
    left, top = (round((side - size) / 2.0) for side in scaled.size)
    return scaled.crop((left, top, left + size, top + size))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_torchvision_does_the_same_as_its_transforms(size, mode):
    image = scene(*size, mode)
    found, enlarged = square(odd_images.file(image, "PNG"), 64, "torchvision")
    np.testing.assert_array_equal(found, as_torchvision(image.convert("RGB"), 64))
    assert enlarged == (min(size) < 64)


@pytest.mark.parametrize("size", SIZES)
def test_torchvision_itself(size):
    functional = pytest.importorskip("torchvision.transforms.functional")
    image = scene(*size)
    expected = functional.center_crop(functional.resize(image, [64]), [64])
    np.testing.assert_array_equal(square(np.asarray(image), 64, "torchvision")[0], expected)


def test_torchvision_decodes_every_pixel_of_a_large_jpeg():
    content = odd_images.file(scene(1100, 900), "JPEG", quality=95)
    with Image.open(io.BytesIO(content)) as image:
        whole = image.convert("RGB")
    np.testing.assert_array_equal(square(content, 64, "torchvision")[0], as_torchvision(whole, 64))
    assert (square(content, 64, "crop")[0] != as_torchvision(whole, 64)).any()
