"""Image files of every kind become the right square of RGB."""

import contextlib
import io
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from alexnet_jax.data import images
from tests import odd_images


def two_steps(image, size):
    """Follow section 2 literally: rescale the whole image, then cut out whole pixels."""
    short = min(image.size)
    scaled = image.resize([round(side * size / short) for side in image.size], Image.Resampling.BOX)
    left, top = (scaled.width - size) // 2, (scaled.height - size) // 2
    return np.asarray(scaled.crop((left, top, left + size, top + size)))


@pytest.mark.parametrize("name", odd_images.good())
def test_every_kind_of_image_becomes_the_right_rgb(name):
    content, expected = odd_images.good()[name]
    found, enlarged = images.square(content, 20)
    assert (found.shape, found.dtype, enlarged) == ((20, 20, 3), np.uint8, False)
    # Equal up to rounding, except at the edges of the quarters and where JPEG halves the colours.
    difference = np.abs(found.astype(int) - two_steps(Image.fromarray(expected), 20))
    assert np.median(difference) <= 3
    assert difference.mean() < 6


@pytest.mark.parametrize("name", odd_images.broken())
def test_broken_images_are_reported(name):
    with pytest.raises(images.BadImage, match=r"."):
        images.square(odd_images.broken()[name], 20)


def test_an_image_of_too_many_pixels_is_reported_with_the_limit():
    reason = r"^it has more than 179 megapixels, the most that are read$"
    with pytest.raises(images.BadImage, match=reason):
        images.square(odd_images.bomb(), 20)


@pytest.mark.parametrize(
    ("bits", "values", "white"),
    [
        (0, [0, 1000, 65535], 65535),
        (0, [0, 1000, 4096], 65535),
        (0, [0, 0, 0], 65535),
        (16, [0, 1000, 4095], 65535),  # declared
        (12, [0, 1000, 4095], 4095),
        (10, [0, 100, 1023], 1023),
        (14, [0, 1001, 16383], 16383),
        (12, [0, 16, 4080], 65535),  # the lower four bits are empty: the values are rescaled, and dark
        (12, [0, 1000, 65535], 65535),
    ],
)
def test_the_value_of_white_in_an_image_of_16_bits(bits, values, white):
    image = Image.fromarray(np.array([values] * 3, np.uint16))
    content = odd_images.file(image, "PNG", pnginfo=odd_images.significant_bits(bits) if bits else None)
    found = images.square(content, 3)[0]
    np.testing.assert_array_equal(found[..., 0], [np.rint(np.array(values) * 255 / white)] * 3)


@pytest.mark.parametrize(
    "name", ["dark_12_of_16_bits.png", "dark_rgb_12_of_16_bits.png", "dark_rgb_12_of_16_bits.tif"]
)
def test_an_image_of_16_bits_that_would_be_nearly_black_is_reported(name):
    with pytest.raises(images.BadImage, match=r"as if white were 4095 and not 65535: rescale them"):
        images.square(odd_images.broken()[name], 20)


@pytest.mark.parametrize("write", [odd_images.sixteen_bits, odd_images.sixteen_bits_tiff])
def test_rgb_of_16_bits_keeps_its_upper_bytes(write):
    content = write(odd_images.scene().astype(np.uint16) * 257)
    expected = images.square(odd_images.scene(), 20)[0]
    np.testing.assert_array_equal(images.square(content, 20)[0], expected)


def test_a_transparent_black_drawing_of_16_bits_is_read():
    drawing = np.zeros((60, 90, 4), np.uint16)
    drawing[:, 45:, 3] = 65535
    found = images.square(odd_images.sixteen_bits(drawing), 20)[0]
    assert (found[:, :9].min(), found[:, 11:].max()) == (255, 0)


@pytest.mark.parametrize("turn", [1, 6])
def test_heic_photographs_are_read_if_the_extra_is_installed(turn):
    pytest.importorskip("pillow_heif")
    assert images.missing_decoder(".heic") == ""
    scene = odd_images.scene() if turn == 1 else np.ascontiguousarray(np.rot90(odd_images.scene()))
    exif = Image.Exif()
    exif[0x0112] = turn
    content = odd_images.file(Image.fromarray(scene), "HEIF", quality=95, exif=exif.tobytes())
    expected = images.square(odd_images.scene(), 20)[0].astype(int)
    assert np.abs(images.square(content, 20)[0] - expected).mean() < 6
    with pytest.raises(images.BadImage):
        images.square(content[:-300], 20)


def test_heic_photographs_name_the_extra_if_it_is_missing(monkeypatch):
    monkeypatch.setattr(images, "_heif", lambda: False)
    images.missing_decoder.cache_clear()
    try:
        for suffix in (".heic", ".heif", ".hif"):
            assert images.missing_decoder(suffix) == "HEIC, which needs pip install -e '.[heic]'"
        with pytest.raises(images.BadImage, match=r"^HEIC, which needs pip install -e '.\[heic\]'$"):
            images.square(b"\0\0\0\x18ftypheic" + bytes(100), 20)
        with pytest.raises(images.BadImage, match=r"^not an image of the formats JPEG, PNG"):
            images.square(b"\0\0\0\x18ftypisom" + bytes(100), 20)
    finally:
        images.missing_decoder.cache_clear()


def test_a_pillow_without_avif_is_reported(monkeypatch):
    monkeypatch.setattr(images.features, "check", lambda name: False)
    images.missing_decoder.cache_clear()
    try:
        assert "AVIF, which this Pillow can't decode" in images.missing_decoder(".avif")
    finally:
        images.missing_decoder.cache_clear()


@pytest.mark.parametrize("name", [*odd_images.broken(), *odd_images.good()])
def test_no_image_starts_a_process(name, monkeypatch):
    """Pillow would run Ghostscript for an EPS file with any name."""
    content = odd_images.good()[name][0] if name in odd_images.good() else odd_images.broken()[name]

    def refuse(*args, **options):
        pytest.fail(f"{args} was started")

    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # whether Ghostscript exists is not known yet
    for module, function in ((subprocess, "Popen"), (os, "system"), (os, "posix_spawn"), (os, "fork")):
        monkeypatch.setattr(module, function, refuse)
    with contextlib.suppress(images.BadImage):
        images.square(content, 20)


def test_only_regular_files_are_read_and_nothing_waits(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "endless.jpg").symlink_to("/dev/zero")
    (tmp_path / "terminal.jpg").symlink_to("/dev/tty")
    (tmp_path / "folder.jpg").mkdir()
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.jpg")
        for path in tmp_path.iterdir():
            with pytest.raises(images.BadImage, match=r"^not a regular file$"):
                images.file_content(str(path))
    with monkeypatch.context() as patch:  # the file becomes a pipe after it was looked at
        patch.setattr(os, "stat", lambda path: os.lstat(__file__))
        with pytest.raises(images.BadImage, match=r"^not a regular file$"):
            images.file_content("pipe.jpg")


def test_a_file_of_absurd_size_is_refused_without_reading_it(tmp_path):
    (tmp_path / "large.jpg").touch()
    os.truncate(tmp_path / "large.jpg", 10**12)
    with pytest.raises(images.BadImage, match=r"^its size is 1 TB, but images of at most 512 MB are read$"):
        images.file_content(str(tmp_path / "large.jpg"))


def test_the_largest_size_of_a_file():
    images.check_size(512 * 10**6)
    with pytest.raises(images.BadImage, match="its size is 512 MB, but images of at most 512 MB are read"):
        images.check_size(512 * 10**6 + 1)


@pytest.mark.parametrize("turn", range(1, 9))
def test_every_exif_orientation_is_undone(turn):
    stored = {
        1: lambda x: x, 2: lambda x: x[:, ::-1], 3: lambda x: x[::-1, ::-1], 4: lambda x: x[::-1],
        5: lambda x: x.swapaxes(0, 1), 6: lambda x: np.rot90(x), 7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
        8: lambda x: np.rot90(x, -1),
    }[turn](odd_images.scene())  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = turn
    content = odd_images.file(Image.fromarray(np.ascontiguousarray(stored)), "PNG", exif=exif)
    expected = images.square(odd_images.file(Image.fromarray(odd_images.scene()), "PNG"), 20)[0]
    np.testing.assert_array_equal(images.square(content, 20)[0], expected)


def test_a_small_image_is_enlarged_smoothly():
    slope = np.broadcast_to(np.linspace(0, 255, 8)[None, :, None], (8, 8, 3)).astype(np.uint8)
    found, enlarged = images.square(slope, 32)
    assert enlarged
    expected = np.interp((np.arange(32) + 0.5) / 4 - 0.5, np.arange(8), slope[0, :, 0])
    np.testing.assert_allclose(found[:, 4:-4, 0], np.broadcast_to(expected, (32, 32))[:, 4:-4], atol=4)


@pytest.mark.parametrize(
    "shape", [(60, 90), (90, 60), (61, 307), (30, 45), (45, 30), (40, 40), (27, 23), (20, 21), (3000, 1)]
)
def test_the_centre_is_cut_out_of_any_shape(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    found, enlarged = images.square(image, 20)
    assert enlarged == (min(shape) < 20)
    if not enlarged:
        np.testing.assert_allclose(found, two_steps(Image.fromarray(image), 20), atol=1)


def test_a_square_of_the_size_is_untouched():
    image = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    np.testing.assert_array_equal(images.square(image, 20)[0], image)


def test_shrinking_is_antialiased():
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    assert images.square(stripes, 32)[0].std() < 1  # uniform grey without stripes


def test_imagenets_photographs_agree_with_pillows_own_resize_and_crop(originals):
    differences = []
    for path in originals:
        found = images.square(path.read_bytes(), 256)[0].astype(int)
        with Image.open(path) as image:
            if min(image.size) >= 256:
                differences.append(np.abs(found - two_steps(image.convert("RGB"), 256)).mean())
    assert len(differences) > 90
    assert np.mean(differences) < 0.5
    assert max(differences) < 2


def test_decoding_large_photographs_at_half_the_size_changes_little(originals):
    with Image.open(originals[0]) as image:
        large = image.convert("RGB").resize((1999, 1501), Image.Resampling.BICUBIC)
    content = io.BytesIO()
    large.save(content, "JPEG", quality=95)
    found = images.square(content.getvalue(), 256)[0].astype(int)
    with Image.open(content) as whole:
        assert np.abs(found - two_steps(whole, 256)).mean() < 1


def test_jpegs_of_the_cache_are_close_to_their_images(originals):
    image = images.square(originals[0].read_bytes(), 256)[0]
    decoded = np.empty_like(image)
    images.decode_into(decoded, images.encode(image))
    assert np.abs(decoded.astype(int) - image).mean() < 4


def test_a_damaged_jpeg_of_the_cache_is_an_error():
    content = images.encode(odd_images.scene())
    for wrong in (content[:-20], content[:40], b""):
        with pytest.raises(ValueError, match=r"."):
            images.decode_into(np.empty((60, 90, 3), np.uint8), wrong)
    for shape, found in (((60, 60, 3), "too small to decode"), ((90, 60, 3), "60x90")):
        with pytest.raises(ValueError, match=found):
            images.decode_into(np.empty(shape, np.uint8), content)


@pytest.mark.parametrize("name", [*odd_images.good()])
def test_strips_do_not_change_the_pixels(name, monkeypatch):
    content, _ = odd_images.good()[name]
    whole = [images.square(content, size)[0] for size in (20, 40, 60, 256)]
    monkeypatch.setattr(images, "_STRIP", 7 * 90)
    for expected in whole:
        np.testing.assert_array_equal(images.square(content, len(expected))[0], expected)


@pytest.mark.parametrize(("mode", "bytes_a_pixel"), [("1", 3), ("RGB", 5), ("RGBA", 9)])
def test_a_large_image_takes_few_bytes_for_each_pixel(mode, bytes_a_pixel, tmp_path):
    """A small file may have many pixels. Conversions of the whole image took 13 to 20 bytes for each."""
    Image.new(mode, (8000, 8000)).save(tmp_path / "large.png")
    code = """if True:
        import pathlib, sys
        from alexnet_jax.data.images import file_content, square
        square(file_content(sys.argv[1]), 64)
        status = pathlib.Path("/proc/self/status").read_text()
        print(status.partition("VmHWM:")[2].split()[0])
    """
    command = [sys.executable, "-c", code, tmp_path / "large.png"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert 1024 * int(done.stdout) < 150e6 + bytes_a_pixel * 8000**2
