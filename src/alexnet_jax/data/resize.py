"""Conversion of images to squares: ``config.data.resize``.

``crop`` is section 2 of the paper: "We first rescaled the image such that the shorter side was of length 256,
and then cropped out the central 256x256 patch from the resulting image." The authors' make-data
(``make-data/pyext/src/pyext.cpp`` in cuda-convnet2) shows how: it reduces an image by the mean over areas,
and enlarges it by cubic interpolation.

``squash`` rescales both sides, as Caffe's examples do. ``torchvision`` rescales and crops with the same
filter and the same rounding as torchvision's transforms of PIL images.
"""

import functools

import numpy as np
from PIL import Image

Box = tuple[float, float, float, float]
"""The edges of a part of an image: left, top, right, bottom."""


def to_square(found: np.ndarray | Image.Image, size: int, resize: str) -> Image.Image:
    """Convert an image to a square.

    Args:
      found: an image, or one in the format of `packed`.
      size: side of the square in pixels.
      resize: ``config.data.resize``.

    Returns:
      An image of size x size pixels, of mode RGBX or the mode of the given image.
    """
    height, width = found.shape if isinstance(found, np.ndarray) else (found.height, found.width)
    if resize == "torchvision":
        return _as_torchvision(unpacked(found), size)
    if resize == "squash":
        box: Box = (0.0, 0.0, width, height)
    else:
        box = _central_box(width, height, size)
        if size < min(width, height) <= 2 * size:
            left, top, right, bottom = box
            pixels_HxW = found if isinstance(found, np.ndarray) else packed(found)
            rows_means = _means(pixels_HxW, *_pairs(top, bottom, height, size), axis=0)
            return unpacked(_means(rows_means, *_pairs(left, right, width, size), axis=1))
    if (height, width) == (size, size):
        return unpacked(found)
    method = Image.Resampling.BICUBIC if min(width, height) < size else Image.Resampling.BOX
    return unpacked(found).resize((size, size), method, box)


def _central_box(width: int, height: int, size: int) -> Box:
    """Return the box in the original image that becomes the central patch of the rescaled image."""
    short = min(width, height)
    scaled_width, scaled_height = (max(size, round(side * size / short)) for side in (width, height))
    left = (scaled_width - size) // 2 * width / scaled_width
    top = (scaled_height - size) // 2 * height / scaled_height
    return left, top, left + size * width / scaled_width, top + size * height / scaled_height


def _as_torchvision(image: Image.Image, size: int) -> Image.Image:
    """Do the same as torchvision's ``resize`` (bilinear with antialiasing) and ``center_crop``."""
    short = min(image.size)
    image = image.resize([int(size * side / short) for side in image.size], Image.Resampling.BILINEAR)
    left, top = (round((side - size) / 2) for side in image.size)
    return image.crop((left, top, left + size, top + size))


@functools.lru_cache(1024)  # most photographs have one of a few shapes
def _pairs(begin: float, end: float, length: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and the last pixel that Pillow's box filter averages for each of ``size`` pixels."""
    scale = float(np.float32(end) - np.float32(begin)) / size
    centres = np.float32(begin) + (np.arange(size) + 0.5) * scale
    first = np.maximum(np.floor(centres - 0.5 * scale + 0.5), 0)
    last = np.minimum(np.floor(centres + 0.5 * scale + 0.5), length) - 1
    first += (first - centres + 0.5) / scale <= -0.5
    last -= (last - centres + 0.5) / scale > 0.5
    return first.astype(np.intp), last.astype(np.intp)


_UPPER_BITS = np.uint32(0xFEFEFEFE)


def _means(pixels_HxW: np.ndarray, first: np.ndarray, last: np.ndarray, axis: int) -> np.ndarray:
    """Return the rounded mean of each first and last pixel, in half the time that Pillow takes.

    It computes (a + b + 1) // 2 as (a | b) - (a ^ b) // 2, for four bytes at once.
    """
    start = first[0]
    near = pixels_HxW[start : last[-1] + 1] if axis == 0 else pixels_HxW[:, start : last[-1] + 1]
    a, b = near.take(first - start, axis, mode="clip"), near.take(last - start, axis, mode="clip")
    half = a ^ b
    half &= _UPPER_BITS
    half >>= np.uint32(1)
    a |= b
    a -= half
    return a


def packed(image: Image.Image) -> np.ndarray:
    """Return uint32 of shape (height, width), whose bytes are red, green, blue and an unused one."""
    image = image.convert("RGB") if image.mode == "L" else image
    return np.frombuffer(image.tobytes("raw", "RGBX"), np.uint32).reshape(image.height, image.width)


def unpacked(found: np.ndarray | Image.Image) -> Image.Image:
    """Return an image of mode RGBX if it is packed, or else the image itself."""
    if isinstance(found, Image.Image):
        return found
    height, width = found.shape
    return Image.frombuffer("RGBX", (width, height), np.ascontiguousarray(found), "raw", "RGBX", 0, 1)
