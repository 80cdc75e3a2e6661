"""Pictures of an evaluation for TensorBoard and Weights & Biases."""

import jax
import numpy as np
from jax.experimental import multihost_utils
from PIL import Image, ImageDraw, ImageFont

from alexnet_jax.data.cache import Cache
from alexnet_jax.net.kernels import first_kernels, mosaic
from alexnet_jax.net.model import Net
from alexnet_jax.net.shapes import Params
from alexnet_jax.parallel import hosts
from alexnet_jax.text import visible
from alexnet_jax.training.hardest import Hardest

_SIDE, _GAP, _LINE = 112, 6, 13  # pixels of an image, between two, and of a line of text
_COLUMNS = 6


def pictures(model: Net, params: Params, cache: Cache, split: str, hardest: Hardest) -> dict[str, np.ndarray]:
    """Draw the first layer's kernels and the hardest mistakes. Every process must call this.

    Args:
      model: the network.
      params: its parameters.
      cache: images that it was evaluated on.
      split: name of their split.
      hardest: mistakes of the evaluation; if it keeps none, nothing is drawn.

    Returns:
      Pictures by name, uint8 of shape (height, width, 3); on other processes than the first, none.
    """
    if not hardest.most:
        return {}
    found = hardest.gathered()
    kernels = first_kernels(model.shapes, params)
    if kernels is not None and jax.process_count() > 1:
        kernels = multihost_utils.process_allgather(kernels, tiled=True)
    if not hosts.is_first():
        return {}
    drawn = {}
    if kernels is not None:
        towers = np.concatenate([mosaic(kernel) for kernel in np.asarray(kernels)])
        drawn["pictures/kernels"] = np.round(255 * towers).astype(np.uint8)
    if found:
        rows = np.array([mistake.row for mistake in found])
        images = np.empty((len(rows), *cache.info.image_size, 3), np.uint8)
        cache.images[split].read(rows, images)
        words = cache.info.class_words
        captions = [
            (words[cache.labels[split][each.row]], f"{_word(words, each.guess)} {each.probability:.0%}")
            for each in found
        ]
        drawn["pictures/mistakes"] = captioned(images, captions)
    return drawn


def _word(words: tuple[str, ...], guess: int) -> str:
    """Return the name of a class; a network may have more outputs than the data has classes."""
    return words[guess] if guess < len(words) else "no class"


def captioned(images_NxHxWx3: np.ndarray, captions: list[tuple[str, str]]) -> np.ndarray:
    """Draw images in rows, each above its right class in black and the wrong guess in red.

    Args:
      images_NxHxWx3: uint8 of shape (images, height, width, 3), of which there is at least one.
      captions: the two lines of text of each image. They are cut off if they are too long.

    Returns:
      uint8 of shape (height, width, 3).
    """
    columns = min(_COLUMNS, len(captions))
    width, height = _SIDE + _GAP, _SIDE + 2 * _LINE + _GAP
    canvas = Image.new("RGB", (columns * width, -(-len(captions) // columns) * height), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(11)
    for i, (pixels, lines) in enumerate(zip(images_NxHxWx3, captions, strict=True)):
        left, top = i % columns * width, i // columns * height
        enlarged = Image.fromarray(pixels).resize((_SIDE, _SIDE), _resampling(len(pixels)))
        canvas.paste(enlarged, (left, top))
        for line, color in zip(lines, ("black", "red"), strict=True):
            text = visible(line)
            while draw.textlength(text, font) > _SIDE - 1:
                text = text.removesuffix("…")[:-1] + "…"
            draw.text((left + 1, top + _SIDE), text, color, font)
            top += _LINE
    return np.asarray(canvas)


def _resampling(side: int) -> Image.Resampling:
    return Image.Resampling.BOX if side >= _SIDE else Image.Resampling.NEAREST
