"""Conversion of image files to squares of RGB, as in section 2 of the paper, and JPEG for the cache.

"We first rescaled the image such that the shorter side was of length 256, and then cropped out the central
256x256 patch from the resulting image." The authors' make-data (``make-data/pyext/src/pyext.cpp`` in
cuda-convnet2) shows how: it reduces an image by the mean over areas, enlarges it by cubic interpolation, and
writes JPEGs of quality 95.
"""

import contextlib
import errno
import functools
import io
import os
import stat
import warnings
from collections.abc import Callable

import numpy as np
import simplejpeg
from PIL import Image, TiffImagePlugin, features

from alexnet_jax.data import png
from alexnet_jax.text import size_in_words

QUALITY = 95
"""The quality of the JPEGs in the cache."""

_HEIF_SUFFIXES = frozenset([".heic", ".heif", ".hif"])
SUFFIXES = _HEIF_SUFFIXES | frozenset(
    [
        ".avif",
        ".bmp",
        ".gif",
        ".jfif",
        ".jpe",
        ".jpeg",
        ".jpg",
        ".pgm",
        ".png",
        ".ppm",
        ".tif",
        ".tiff",
        ".webp",
    ]
)
"""The suffixes of image files, in lower case."""

NO_FILE = frozenset([errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP, errno.EISDIR, errno.ENAMETOOLONG])
"""Errors of a file that is missing or unreadable. Other errors may be temporary, as while a disk is away."""

# The formats that are read, the frequent ones first. Pillow knows others, and runs Ghostscript for EPS.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "PPM", "TIFF", "WEBP", "AVIF")
_HEIF_BRANDS = frozenset([b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"])
_LARGEST = 512 * 10**6  # bytes of a file


class BadImage(Exception):
    """Report an image that can't be read. The message is the reason."""


@functools.cache
def missing_decoder(suffix: str) -> str:
    """Return why files with a suffix can't be decoded on this machine; empty if they can."""
    if suffix == ".avif" and not features.check("avif"):
        return "AVIF, which this Pillow can't decode: pip install --upgrade pillow"
    if suffix in _HEIF_SUFFIXES and not _heif():
        return "HEIC, which needs pip install -e '.[heic]'"
    return ""


@functools.cache
def _heif() -> bool:
    """Return whether Pillow can decode HEIF, and let it if pillow-heif is installed."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def file_content(path: str) -> bytes:
    """Read an image file. Never wait for a pipe, a device or a socket.

    Raises:
      BadImage: the file is missing, unreadable, larger than 512 MB or not a regular file.
      OSError: another error, which may be temporary.
    """
    try:
        _check(os.stat(path))  # noqa: PTH116 (a million files)
        with open(path, "rb", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            _check(status)  # the file may have been replaced in between
            return file.read(status.st_size)
    except OSError as error:
        if error.errno not in NO_FILE:
            raise
        raise BadImage(error.strerror or str(error)) from error


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _check(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise BadImage("not a regular file")
    check_size(status.st_size)


def check_size(size: int) -> None:
    """Check the size of an image file in bytes.

    Raises:
      BadImage: it is larger than 512 MB.
    """
    if size > _LARGEST:
        sizes = size_in_words(size), size_in_words(_LARGEST)
        raise BadImage("its size is {}, but images of at most {} are read".format(*sizes))


def square(content: bytes | np.ndarray, size: int) -> tuple[np.ndarray, bool]:
    """Rescale the shorter side to ``size``, and cut out the centre.

    Args:
      content: the bytes of a JPEG, PNG, GIF, BMP, PPM, TIFF or WebP file, or uint8 of shape
        (height, width, 3).
      size: side of the square in pixels.

    Returns:
      Uint8 of shape (size, size, 3), and whether the image was enlarged.

    Raises:
      BadImage: the image can't be read.
    """
    found = Image.fromarray(content) if isinstance(content, np.ndarray) else _decoded(content, size)
    height, width = found.shape if isinstance(found, np.ndarray) else (found.height, found.width)
    short = min(width, height)
    # The box in the original image that becomes the central patch of the rescaled image.
    scaled_width, scaled_height = (max(size, round(side * size / short)) for side in (width, height))
    left = (scaled_width - size) // 2 * width / scaled_width
    top = (scaled_height - size) // 2 * height / scaled_height
    right, bottom = left + size * width / scaled_width, top + size * height / scaled_height
    if size < short <= 2 * size:
        pixels_HxW = found if isinstance(found, np.ndarray) else _packed(found)
        rows_means = _means(pixels_HxW, *_pairs(top, bottom, height, size), axis=0)
        image = _unpacked(_means(rows_means, *_pairs(left, right, width, size), axis=1))
    else:
        image = _unpacked(found) if isinstance(found, np.ndarray) else found
        if (height, width) != (size, size):
            method = Image.Resampling.BICUBIC if short < size else Image.Resampling.BOX
            image = image.resize((size, size), method, (left, top, right, bottom))
    if image.mode == "L":
        image = image.convert("RGB")
    rgb = np.frombuffer(image.tobytes("raw", "RGB"), np.uint8)
    return rgb.reshape(size, size, 3), short < size


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


def _packed(image: Image.Image) -> np.ndarray:
    """Return uint32 of shape (height, width), whose bytes are red, green, blue and an unused one."""
    image = image.convert("RGB") if image.mode == "L" else image
    return np.frombuffer(image.tobytes("raw", "RGBX"), np.uint32).reshape(image.height, image.width)


def _unpacked(pixels_HxW: np.ndarray) -> Image.Image:
    height, width = pixels_HxW.shape
    return Image.frombuffer("RGBX", (width, height), np.ascontiguousarray(pixels_HxW), "raw", "RGBX", 0, 1)


def _decoded(content: bytes, size: int) -> np.ndarray | Image.Image:
    """Decode an image file, turned upright, in the format of `_packed` or as an image of mode RGB or L.

    It takes at most 9 bytes for each pixel of a file that Pillow decodes: 1.5 GB for the largest image. The
    decoders of AVIF and WebP take more, up to 16 bytes for each pixel.
    """
    try:
        return _decoded_by_pillow(content, size)
    except BadImage:
        if (pixels_only := png.without_text(content)) is None:
            raise
        return _decoded_by_pillow(pixels_only, size)  # Pillow refuses large texts and colour profiles


def _decoded_by_pillow(content: bytes, size: int) -> np.ndarray | Image.Image:
    is_heif = content[4:8] == b"ftyp" and content[8:12] in _HEIF_BRANDS
    formats = (*_FORMATS, "HEIF") if is_heif and _heif() else _FORMATS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from Pillow, about odd metadata and large images
        try:
            with Image.open(io.BytesIO(content), formats=formats) as image:
                whole = image.size
                if image.format in ("JPEG", "MPO"):
                    # The decoder divides the size of a photograph by 2, 4 or 8, as long as at least twice
                    # ``size`` remains.
                    image.draft(None, (2 * size, 2 * size))
                turn = _turn(image)
                if image.format == "JPEG" and image.mode in ("RGB", "L") and image.size == whole and not turn:
                    with contextlib.suppress(ValueError):  # let Pillow decide which faults to accept
                        return simplejpeg.decode_jpeg(content, "RGBX").view(np.uint32)[..., 0]
                image.load()
                rgb = _rgb(image, content)
                return rgb if turn is None else rgb.transpose(turn)
        except (BadImage, MemoryError):
            raise
        except Image.DecompressionBombError as error:
            most = 2 * (Image.MAX_IMAGE_PIXELS or 0) / 10**6
            raise BadImage(f"it has more than {most:.0f} megapixels, the most that are read") from error
        except Image.UnidentifiedImageError as error:
            missing = missing_decoder(".heic") if is_heif else ""
            raise BadImage(missing or f"not an image of the formats {', '.join(_FORMATS)}") from error
        except Exception as error:  # Pillow's decoders may raise anything for a broken file
            raise BadImage(str(error) or type(error).__name__) from error


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
    """Return the turn that the EXIF data requires. Unlike `ImageOps.exif_transpose`, read no other field."""
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION, 0))
    except Exception:  # the image may still be good
        return None


def _rgb(image: Image.Image, content: bytes) -> Image.Image:
    """Convert any mode to RGB or L: 16 bits are rescaled, and transparent pixels become white."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        # Pillow would clip it at 255, and has rescaled a PPM.
        white = 65535 if image.format == "PPM" else _white(np.asarray(image), content)
        return _in_strips(image, "L", functools.partial(_rescaled, white=white))
    if image.mode in ("I", "F"):
        raise BadImage("its pixels have 32 bits, and which value is white is unknown")
    if _bit_depth(image, content) == 16 and png.significant_bits(content) != 16:  # Pillow keeps upper bytes
        most = np.max(_in_strips(image, "RGB", lambda strip: strip.convert("RGB")).getextrema())
        black_drawing = most == 0 and image.has_transparency_data
        if most < _DARK >> 8 and not black_drawing:
            raise BadImage(_UNKNOWN_WHITE)
    if image.has_transparency_data:
        return _in_strips(image, "RGB", _on_white)
    if image.mode in ("1", "L"):
        return image.convert("L")
    return image if image.mode == "RGB" else _in_strips(image, "RGB", lambda strip: strip.convert("RGB"))


def _bit_depth(image: Image.Image, content: bytes) -> int:
    """Return the bits of each value in a PNG or TIFF file; 0 for other files."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return max(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,)))
    return png.bit_depth(content)


def _rescaled(grey: Image.Image, white: int) -> Image.Image:
    values = np.asarray(grey).astype(np.uint32)
    return Image.fromarray(((values * 255 + white // 2) // white).astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _in_strips(image: Image.Image, mode: str, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Convert each pixel of an image. In strips, a large image does not take the memory of each step."""
    rows = max(1, _STRIP // image.width)
    if image.height <= rows:
        return convert(image)
    whole = Image.new(mode, image.size)
    for top in range(0, image.height, rows):
        box = (0, top, image.width, min(top + rows, image.height))
        whole.paste(convert(image.crop(box)), box)
    return whole


_STRIP = 2**23  # pixels
_DARK = 4096
_UNKNOWN_WHITE = (
    "its values have 16 bits but are below 4096, as if white were 4095 and not 65535: rescale them, or"
    " declare the bits (sBIT in a grey PNG)"
)


def _white(grey_HxW: np.ndarray, content: bytes) -> int:
    """Return the value of white in an image of 16 bits, whose values may fill only the lower bits.

    PNG requires values that fill the range up to 65535, also if sBIT declares fewer bits: then the lower bits
    repeat the upper ones or are zero. Many programs write the values of a camera of 12 bits as they are.
    """
    most, bits = int(grey_HxW.max()), png.significant_bits(content)
    if bits and most < 1 << bits and (grey_HxW % (1 << max(0, 16 - bits))).any():
        return (1 << bits) - 1
    if not bits and 0 < most < _DARK:
        raise BadImage(_UNKNOWN_WHITE)
    return 65535


def encode(image_HxWx3: np.ndarray) -> bytes:
    """Encode a JPEG for the cache, with colours at half the resolution, as in most files of ImageNet."""
    return simplejpeg.encode_jpeg(np.ascontiguousarray(image_HxWx3), QUALITY, "RGB", colorsubsampling="420")


def decode_into(image_HxWx3: np.ndarray, content: bytes) -> None:
    """Decode a JPEG of the cache into an array.

    Raises:
      ValueError: the JPEG is damaged.
    """
    decoded = simplejpeg.decode_jpeg(content, "RGB", buffer=image_HxWx3)  # raises for a larger image
    if decoded.shape != image_HxWx3.shape:
        raise ValueError(f"its size is {decoded.shape[0]}x{decoded.shape[1]}")
