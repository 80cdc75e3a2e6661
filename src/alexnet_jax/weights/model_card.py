"""A model card: Markdown in the form of the Hugging Face hub."""

import re

from alexnet_jax.net.shapes import config_shapes
from alexnet_jax.text import markdown, visible
from alexnet_jax.training.metrics import Evaluation
from alexnet_jax.weights.network import Network
from alexnet_jax.weights.rendering import render

_CENTRAL = ", and take the central {0}x{0}."
_SQUARES = {
    "crop": "Scale the shorter side of the image to {0} pixels (the mean over areas)" + _CENTRAL,
    "squash": "Scale both sides of the image to {0} pixels (the mean over areas).",
    "torchvision": "Scale the shorter side of the image to {0} pixels (bilinear with antialiasing)"
    + _CENTRAL,
}
"""How an image becomes a square, for each ``config.data.resize``."""


def card(network: Network, title: str, file: str, module: str) -> bytes:
    """Return the card, UTF-8.

    Args:
      network: the network.
      title: its name.
      file: name of the file with its arrays.
      module: name of the Python module beside it.
    """
    config, data = network.config, network.data
    images = ", ".join(f"{count:,} images for {split}" for split, count in data.splits.items())
    splits = f": {images}" if network.step else ""  # an imported network has none
    return render(
        "model_card.md.jinja",
        {
            "title": _plain(title),
            "classes": f"{len(data.class_words):,}",
            "step": network.step,
            "parameters": f"{sum(layer.size for layer in config_shapes(config)):,}",
            "towers": config.net.towers,
            "data": f"{_plain(data.source)}, version {_plain(data.version)}{splits}.",
            "errors": _errors(network.evaluations),
            "square": _SQUARES[config.data.resize].format(config.data.image_size),
            "image_size": config.data.image_size,
            "crop_size": config.data.crop_size,
            "pixel_std": config.data.pixel_std,
            "preprocessing": network.preprocessing,
            "module": module,
            "file": visible(file).replace('"', '\\"'),
            "names": markdown(
                [("output", "class"), *((str(i), _plain(n)) for i, n in enumerate(data.class_words))]
            ),
        },
    )


def _plain(text: str) -> str:
    """Return a line that Markdown and HTML show as it is."""
    return re.sub(r"[<>&`]", lambda found: f"&#{ord(found[0])};", visible(text))


def _errors(evaluations: tuple[Evaluation, ...]) -> str:
    """Return a table of error rates, the last one of each split and number of views; empty for none."""
    last = {(line["split"], line["views"]): line for line in evaluations}
    if not last:
        return ""
    rows = [
        (split, str(views), f"{line['examples']:,}", f"{line['top1_error']:.2%}", f"{line['top5_error']:.2%}")
        for (split, views), line in last.items()
    ]
    return markdown([("split", "views", "images", "top-1 error", "top-5 error"), *rows])
