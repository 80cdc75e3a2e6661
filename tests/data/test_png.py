"""The chunks of PNG files."""

import io

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from alexnet_jax.data import png
from tests import odd_images


def with_text():
    """Return a PNG with a text, a colour profile and the significant bits."""
    texts = PngImagePlugin.PngInfo()
    texts.add_text("a", "text", zip=True)
    texts.add(b"sBIT", bytes([5, 6, 5]))
    return odd_images.file(Image.fromarray(odd_images.scene()), "PNG", pnginfo=texts, icc_profile=b"profile")


def test_texts_and_the_profile_are_dropped_and_the_pixels_are_not():
    found = png.without_text(with_text())
    with Image.open(io.BytesIO(found)) as image:
        np.testing.assert_array_equal(np.asarray(image), odd_images.scene())
        assert image.info == {}
    assert png.without_text(found) is None


def test_bits():
    assert (png.bit_depth(with_text()), png.significant_bits(with_text())) == (8, 6)
    plain = odd_images.file(Image.fromarray(odd_images.grey().astype(np.uint16)), "PNG")
    assert (png.bit_depth(plain), png.significant_bits(plain)) == (16, 0)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", odd_images.rotated(), with_text()[:40]])
def test_other_and_truncated_files_have_no_chunks(content):
    assert png.without_text(content) is None
    assert png.significant_bits(content) == 0
