"""From a file with an image to a square of RGB, as section 2 of the paper makes it, and JPEG for the cache.

"We first rescaled the image such that the shorter side was of length 256, and then cropped out the
central 256x256 patch from the resulting image." How is in the authors' own make-data (cuda-convnet2,
``make-data/pyext/src/pyext.cpp``): the mean over areas where an image shrinks, cubic where it grows, JPEGs
of quality 95.
"""

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
    image = Image.fromarray(content) if isinstance(content, np.ndarray) else _read(content, size)
    width, height = image.size
    short = min(width, height)
    # The patch that rescaling and then cropping whole pixels would keep, as a box in the image that is there.
    scaled_width, scaled_height = (max(size, round(side * size / short)) for side in image.size)
    left = (scaled_width - size) // 2 * width / scaled_width
    top = (scaled_height - size) // 2 * height / scaled_height
    box = (left, top, left + size * width / scaled_width, top + size * height / scaled_height)
    method = Image.Resampling.BICUBIC if short < size else Image.Resampling.BOX
    if image.size != (size, size):
        image = image.resize((size, size), method, box)
    return np.asarray(image), short < size


def _read(content: bytes, size: int) -> Image.Image:
    """The image in a file, upright, as RGB."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of odd metadata and of large images
        try:
            with Image.open(io.BytesIO(content)) as image:
                # A photograph of more than four times the size: the decoder itself halves it, as often as
                # twice the size is left.
                image.draft(None, (2 * size, 2 * size))
                return _rgb(_upright(image))
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


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF says, if that can be read (`ImageOps.exif_transpose` would have all of it whole)."""
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # the picture may be good nevertheless
        return image
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


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
    height, width, _, _ = simplejpeg.decode_jpeg_header(content)
    if (height, width) != image_HxWx3.shape[:2]:
        raise ValueError(f"an image of {height}x{width}")
    simplejpeg.decode_jpeg(content, "RGB", buffer=image_HxWx3)
