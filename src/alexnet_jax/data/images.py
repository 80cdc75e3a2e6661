"""From a file with an image to a square of RGB, as section 2 of the paper makes it, and JPEG for the cache.

"We first rescaled the image such that the shorter side was of length 256, and then cropped out the
central 256x256 patch from the resulting image." How is in the authors' own make-data (cuda-convnet2,
``make-data/pyext/src/pyext.cpp``): the mean over areas where an image shrinks, cubic where it grows, JPEGs
of quality 95.
"""

import contextlib
import functools
import io
import warnings

import numpy as np
import simplejpeg
from PIL import Image

QUALITY = 95
"""Of the cache's JPEGs."""

SUFFIXES = frozenset(
    [".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"]
)
"""How the names of image files end, in lower case."""


class BadImage(Exception):
    """What can't be read as an image: the message says why."""


def square(content: bytes | np.ndarray, size: int) -> tuple[np.ndarray, bool]:
    """The shorter side rescaled to ``size``, the centre cut out.

    Args:
      content: an image file of any kind that Pillow reads, whatever its name says; or uint8 of shape
        (height, width, 3).
      size: of the square, in pixels.

    Returns:
      Uint8 of shape (size, size, 3), and whether the image was smaller than that and is enlarged.

    Raises:
      BadImage: it can't be read.
    """
    pixels_HxW = (
        _packed(Image.fromarray(content)) if isinstance(content, np.ndarray) else _read(content, size)
    )
    height, width = pixels_HxW.shape
    short = min(width, height)
    # The patch that rescaling and then cropping whole pixels would keep, as a box in the image that is there.
    scaled_width, scaled_height = (max(size, round(side * size / short)) for side in (width, height))
    left = (scaled_width - size) // 2 * width / scaled_width
    top = (scaled_height - size) // 2 * height / scaled_height
    right, bottom = left + size * width / scaled_width, top + size * height / scaled_height
    if size < short <= 2 * size:
        rows_means = _means(pixels_HxW, *_pairs(top, bottom, height, size), axis=0)
        image = _unpacked(_means(rows_means, *_pairs(left, right, width, size), axis=1))
    elif (height, width) == (size, size):
        image = _unpacked(pixels_HxW)
    else:
        method = Image.Resampling.BICUBIC if short < size else Image.Resampling.BOX
        image = _unpacked(pixels_HxW).resize((size, size), method, (left, top, right, bottom))
    rgb = np.frombuffer(image.tobytes("raw", "RGB"), np.uint8)
    return rgb.reshape(size, size, 3), short < size


@functools.lru_cache(1024)  # most photographs have the same few shapes
def _pairs(begin: float, end: float, length: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last pixel that each of ``size`` is the mean of, as Pillow's box filter has it."""
    scale = float(np.float32(end) - np.float32(begin)) / size
    centres = np.float32(begin) + (np.arange(size) + 0.5) * scale
    first = np.maximum(np.floor(centres - 0.5 * scale + 0.5), 0)
    last = np.minimum(np.floor(centres + 0.5 * scale + 0.5), length) - 1
    first += (first - centres + 0.5) / scale <= -0.5
    last -= (last - centres + 0.5) / scale > 0.5
    return first.astype(np.intp), last.astype(np.intp)


_UPPER_BITS = np.uint32(0xFEFEFEFE)


def _means(pixels_HxW: np.ndarray, first: np.ndarray, last: np.ndarray, axis: int) -> np.ndarray:
    """The mean of the first and the last pixel (which may be the same), rounded, in half of Pillow's time.

    (a + b + 1) // 2 is (a | b) - (a ^ b) // 2: four bytes at once.
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


def _packed(image: Image.Image) -> np.ndarray:
    """Uint32 of shape (height, width): red, green, blue and a byte of no meaning."""
    return np.frombuffer(image.tobytes("raw", "RGBX"), np.uint32).reshape(image.height, image.width)


def _unpacked(pixels_HxW: np.ndarray) -> Image.Image:
    height, width = pixels_HxW.shape
    return Image.frombuffer("RGBX", (width, height), np.ascontiguousarray(pixels_HxW), "raw", "RGBX", 0, 1)


def _read(content: bytes, size: int) -> np.ndarray:
    """The image in a file, upright, as `_packed`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of odd metadata and of large images
        try:
            with Image.open(io.BytesIO(content)) as image:
                whole = image.size
                # A photograph of more than four times the size: the decoder itself halves it, as often as
                # twice the size is left.
                image.draft(None, (2 * size, 2 * size))
                turn = _turn(image)
                if image.format == "JPEG" and image.mode in ("RGB", "L") and image.size == whole and not turn:
                    with contextlib.suppress(ValueError):  # of any fault: Pillow knows which to bear
                        return simplejpeg.decode_jpeg(content, "RGBX").view(np.uint32)[..., 0]
                return _packed(_rgb(image if turn is None else image.transpose(turn)))
        except (BadImage, MemoryError):
            raise
        except Exception as error:  # a broken file may raise anything in Pillow's many decoders
            reason = "no kind of image" if isinstance(error, Image.UnidentifiedImageError) else str(error)
            raise BadImage(reason or type(error).__name__) from error


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What its EXIF says, if that can be read (`ImageOps.exif_transpose` would have all of it whole)."""
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION, 0))
    except Exception:  # the picture may be good nevertheless
        return None


def _rgb(image: Image.Image) -> Image.Image:
    """RGB of any mode: 16 bits rescaled, transparent places white."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        grey = np.asarray(image).astype(np.uint32)  # which Pillow itself would cut off at 255
        return Image.fromarray(((grey + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise BadImage("its pixels are numbers of 32 bits, and what is white is not known")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def encode(image_HxWx3: np.ndarray) -> bytes:
    """A JPEG of the cache; colours at half the resolution, as in most of ImageNet's files."""
    return simplejpeg.encode_jpeg(np.ascontiguousarray(image_HxWx3), QUALITY, "RGB", colorsubsampling="420")


def decode_into(image_HxWx3: np.ndarray, content: bytes) -> None:
    """Decodes a JPEG of the cache to where it is wanted.

    Raises:
      ValueError: it is damaged.
    """
    decoded = simplejpeg.decode_jpeg(content, "RGB", buffer=image_HxWx3)  # raises for a larger one
    if decoded.shape != image_HxWx3.shape:
        raise ValueError(f"an image of {decoded.shape[0]}x{decoded.shape[1]}")
