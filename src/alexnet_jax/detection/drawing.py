"""Photographs with the boxes, classes and scores of their objects."""

import colorsys
import zlib

from PIL import Image, ImageDraw, ImageFont

from alexnet_jax.detection.predict import Scene
from alexnet_jax.text import visible


def drawn(scene: Scene) -> Image.Image:
    """Draw the objects of a photograph, the highest score on top. A class has the same colour everywhere."""
    image = scene.image.copy()
    draw = ImageDraw.Draw(image)
    thickness = max(2, max(image.size) // 250)
    font = ImageFont.load_default(8 * thickness)
    for each in reversed(scene.objects):
        hue = zlib.crc32(each.class_name.encode("utf-8", "surrogateescape")) / 2**32
        colour = tuple(round(255 * x) for x in colorsys.hsv_to_rgb(hue, 0.9, 0.8))
        draw.rectangle(each.box, outline=colour, width=thickness)
        label = f"{visible(each.class_name)} {each.score:.2f}"
        corner = (each.box[0], max(0, each.box[1] - 9 * thickness))
        draw.rectangle(draw.textbbox(corner, label, font), fill=colour)
        draw.text(corner, label, "white", font)
    return image
