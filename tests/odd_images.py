"""Image files of many kinds that all show the same scene, and broken files."""

import io
import struct
import zlib

import numpy as np
from PIL import Image, PngImagePlugin

HEIGHT, WIDTH = 60, 90


def scene():
    """Return uint8 of shape (60, 90, 3): four quarters of different colours, brighter to the right."""
    quarters = np.array([[[200, 40, 40], [40, 180, 60]], [[40, 60, 200], [190, 180, 40]]], np.float64)
    colours = quarters.repeat(HEIGHT // 2, 0).repeat(WIDTH // 2, 1)
    light = np.linspace(0.7, 1.2, WIDTH)[None, :, None]
    return np.clip(np.rint(colours * light), 0, 255).astype(np.uint8)


def grey():
    """Return the scene without its colours."""
    return np.asarray(Image.fromarray(scene()).convert("L"))


def file(image, kind, **options):
    """Return the bytes of an image file."""
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def rotated():
    """Return a photograph from a rotated camera: its pixels are rotated, and its EXIF records that."""
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate clockwise to display
    return file(Image.fromarray(np.rot90(scene())), "JPEG", quality=95, exif=exif)


def transparent():
    """Return the scene with a transparent left half, whose pixels are black."""
    alpha = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)
    alpha[:, : WIDTH // 2] = 0
    return Image.fromarray(np.concatenate([scene() * (alpha > 0), alpha], axis=-1))


def on_white():
    """Return `transparent` on a white background."""
    image = scene()
    image[:, : WIDTH // 2] = 255
    return image


def twelve_bits():
    """Return the scene without its colours, in 16 bits of which the lower 12 are used."""
    return Image.fromarray(np.rint(grey() * (4095 / 255)).astype(np.uint16))


def significant_bits(bits):
    """Return the chunk of a PNG that declares how many bits of each grey value are significant."""
    chunks = PngImagePlugin.PngInfo()
    chunks.add(b"sBIT", bytes([bits]))
    return chunks


def large_text():
    """Return a text of 2 MB, which Pillow refuses to read."""
    texts = PngImagePlugin.PngInfo()
    texts.add_text("parameters", "a" * 2_000_000, zip=True)
    return texts


def sixteen_bits(image_HxWxC):
    """Return a PNG of RGB or RGBA with 16 bits for each value, which Pillow does not write."""
    height, width, channels = image_HxWxC.shape
    rows = np.zeros((height, 1 + 2 * channels * width), np.uint8)
    rows[:, 1:] = image_HxWxC.astype(">u2").view(np.uint8).reshape(height, -1)
    head = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    return png([(b"IHDR", head), (b"IDAT", zlib.compress(rows.tobytes()))])


def sixteen_bits_tiff(image_HxWx3):
    """Return a TIFF of RGB with 16 bits for each value, which Pillow does not write."""
    height, width, _ = image_HxWx3.shape
    pixels = image_HxWx3.astype("<u2").tobytes()
    entries = {
        256: width,
        257: height,
        258: 8,
        259: 1,
        262: 2,
        273: 14,
        277: 3,
        278: height,
        279: len(pixels),
    }
    directory = struct.pack("<H", len(entries))
    for tag, value in entries.items():
        directory += struct.pack("<HHII", tag, 3 if tag == 258 else 4, 3 if tag == 258 else 1, value)
    begin = struct.pack("<2sHI3H", b"II", 42, 14 + len(pixels), 16, 16, 16)
    return begin + pixels + directory + bytes(4)


def good():
    """Return {name: (content, expected RGB)}."""
    rgb = Image.fromarray(scene())
    grey_3 = np.repeat(grey()[..., None], 3, axis=-1)
    palette = transparent().quantize(16)
    return {
        "jpeg.jpg": (file(rgb, "JPEG", quality=95), scene()),
        "progressive.jpeg": (file(rgb, "JPEG", quality=95, progressive=True), scene()),
        "png.png": (file(rgb, "PNG"), scene()),
        "png_called.JPEG": (file(rgb, "PNG"), scene()),
        "gif.gif": (file(rgb.quantize(64), "GIF"), scene()),
        "webp.webp": (file(rgb, "WEBP", lossless=True), scene()),
        "bmp.bmp": (file(rgb, "BMP"), scene()),
        "tiff.tif": (file(rgb, "TIFF"), scene()),
        "grey.jpg": (file(rgb.convert("L"), "JPEG", quality=95), grey_3),
        "palette.png": (file(rgb.quantize(64), "PNG"), scene()),
        "cmyk.jpg": (file(rgb.convert("CMYK"), "JPEG", quality=95), scene()),
        "grey_16_bits.png": (file(Image.fromarray(grey().astype(np.uint16) * 257), "PNG"), grey_3),
        "grey_16_bits.pgm": (b"P5 90 60 65535\n" + (grey().astype(">u2") * 257).tobytes(), grey_3),
        "avif.avif": (file(rgb, "AVIF", quality=95), scene()),
        "large_text.png": (file(rgb, "PNG", pnginfo=large_text()), scene()),
        "large_profile.png": (file(rgb, "PNG", icc_profile=bytes(3_000_000)), scene()),
        "grey_12_of_16_bits.png": (file(twelve_bits(), "PNG", pnginfo=significant_bits(12)), grey_3),
        "alpha.png": (file(transparent(), "PNG"), on_white()),
        "palette_alpha.png": (file(palette, "PNG"), on_white()),
        "grey_alpha.png": (
            file(transparent().convert("LA"), "PNG"),
            np.asarray(Image.fromarray(on_white()).convert("L").convert("RGB")),
        ),
        "rotated.jpg": (rotated(), scene()),
        "two_images_of_a_phone.jpg": (
            file(rgb, "MPO", quality=95, save_all=True, append_images=[rgb]),
            scene(),
        ),
        "bad_exif.png": (file(rgb, "PNG", exif=b"Exif\0\0nonsense"), scene()),
    }


def broken():
    """Return {name: content} of files that are not images, or not complete."""
    return {
        "empty.jpg": b"",
        "text.jpg": b"<html>404 Not Found</html>\n" * 20,
        "cut.jpg": file(Image.fromarray(scene()), "JPEG", quality=95)[:-300],
        "cut.png": file(Image.fromarray(scene()), "PNG")[:-60],
        "whole_numbers.tif": file(Image.fromarray(grey().astype(np.int32)), "TIFF"),
        "floats.tif": file(Image.fromarray(grey() / np.float32(255)), "TIFF"),
        "bomb.png": bomb(),
        "dark_12_of_16_bits.png": file(twelve_bits(), "PNG"),
        "dark_12_of_16_bits.tif": file(twelve_bits(), "TIFF"),
        "dark_rgb_12_of_16_bits.png": sixteen_bits(scene().astype(np.uint16) * 16),
        "dark_rgb_12_of_16_bits.tif": sixteen_bits_tiff(scene().astype(np.uint16) * 16),
        "runs_ghostscript.jpg": file(Image.fromarray(scene()), "EPS"),
        "document.jpg": file(Image.fromarray(scene()), "PDF"),
        "telescope.jpg": telescope(),
        "icon.png": file(Image.fromarray(scene()), "ICO"),
        "targa.jpg": file(Image.fromarray(scene()), "TGA"),
    }


def bomb():
    """Return a PNG of 100 bytes with 20,000 x 20,000 pixels."""
    head = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    return png([(b"IHDR", head), (b"IDAT", zlib.compress(b""))])


def png(chunks):
    """Return a PNG of these chunks."""
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in [*chunks, (b"IEND", b"")]:
        content += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return content


def telescope():
    """Return a FITS file."""
    cards = ("SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 2", "NAXIS1  = 90", "NAXIS2  = 60", "END")
    return "".join(card.ljust(80) for card in cards).encode().ljust(2880) + grey().tobytes()
