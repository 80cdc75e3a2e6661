"""Decoding of image files into squares of RGB (see `resize`), and JPEG for the cache.

The authors' make-data (``make-data/pyext/src/pyext.cpp`` in cuda-convnet2) writes JPEGs of quality 95.
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
from alexnet_jax.data.resize import to_square, unpacked
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


def whole(content: bytes) -> Image.Image:
    """Decode an image file at its full size, turned upright, as RGB.

    Raises:
      BadImage: the image can't be read.
    """
    return unpacked(_decoded(content, least=None)).convert("RGB")


def square(content: bytes | np.ndarray, size: int, resize: str = "crop") -> tuple[np.ndarray, bool]:
    """Convert an image to a square, as `resize.to_square` does.

    Args:
      content: the bytes of a JPEG, PNG, GIF, BMP, PPM, TIFF or WebP file, or uint8 of shape
        (height, width, 3).
      size: side of the square in pixels.
      resize: ``config.data.resize``.

    Returns:
      Uint8 of shape (size, size, 3), and whether the image was enlarged.

    Raises:
      BadImage: the image can't be read.
    """
    least = None if resize == "torchvision" else 2 * size  # torchvision decodes every pixel
    found = Image.fromarray(content) if isinstance(content, np.ndarray) else _decoded(content, least)
    height, width = found.shape if isinstance(found, np.ndarray) else (found.height, found.width)
    image = to_square(found, size, resize)
    if image.mode == "L":
        image = image.convert("RGB")
    rgb = np.frombuffer(image.tobytes("raw", "RGB"), np.uint8)
    return rgb.reshape(size, size, 3), min(width, height) < size


def _decoded(content: bytes, least: int | None) -> np.ndarray | Image.Image:
    """Decode an image file, turned upright, in the format of `resize.packed` or as an image of mode RGB or L.

    It takes at most 9 bytes for each pixel of a file that Pillow decodes: 1.5 GB for the largest image. The
    decoders of AVIF and WebP take more, up to 16 bytes for each pixel.

    Args:
      content: the bytes of the file.
      least: length of the sides, in pixels, down to which the decoder may reduce a JPEG; None for never.
    """
    try:
        return _decoded_by_pillow(content, least)
    except BadImage:
        if (pixels_only := png.without_text(content)) is None:
            raise
        return _decoded_by_pillow(pixels_only, least)  # Pillow refuses large texts and colour profiles


def _decoded_by_pillow(content: bytes, least: int | None) -> np.ndarray | Image.Image:
    is_heif = content[4:8] == b"ftyp" and content[8:12] in _HEIF_BRANDS
    formats = (*_FORMATS, "HEIF") if is_heif and _heif() else _FORMATS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from Pillow, about odd metadata and large images
        try:
            with Image.open(io.BytesIO(content), formats=formats) as image:
                whole = image.size
                if least is not None and image.format in ("JPEG", "MPO"):
                    # The decoder divides the size of a photograph by 2, 4 or 8, as long as ``least`` remains.
                    image.draft(None, (least, least))
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
