"""``alexnet-jax report``: a training or a sweep as one page that needs nothing else, or a figure alone."""

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from alexnet_jax import files
from alexnet_jax.errors import UserError
from alexnet_jax.files import absolute
from alexnet_jax.paper import figure1, figure3, figure4
from alexnet_jax.report import images as report_images
from alexnet_jax.report import sweep as report_sweep
from alexnet_jax.report import training as report_workdir
from alexnet_jax.report.asked import Asked, is_sweep
from alexnet_jax.runtime import progress
from alexnet_jax.sweep import spec as sweep_lib
from alexnet_jax.training.restored import restore

_SMALL = 64  # pixels: images up to here are kept as they are
_SHOWN = 192  # pixels of the longer side of a larger one


def page(asked: Asked, save: str, complain: Callable[[str], None]) -> str:
    """Writes the page of a training or of a sweep.

    Args:
      asked: what for.
      save: the file.
      complain: takes a line about what is missing in it, or not as it should be.

    Returns:
      The file's name.

    Raises:
      UserError: it can't be written, or what is asked for is not there.
    """
    path = absolute(asked.workdir)
    if is_sweep(path):
        if asked.overrides:
            raise UserError(f"the report of a sweep takes no --config ({asked.overrides[0]})")
        progress.note(f"reading the logs of the sweep {asked.workdir}")
        html = render("sweep.html.jinja", report_sweep.gather(asked.workdir, path, absolute(save).parent))
    else:
        html = render("training.html.jinja", report_workdir.gather(asked, complain))
    _write(save, html.encode())
    return save


def figure(number: int, asked: Asked, save: str) -> list[str]:
    """Writes figure 1, 3 or 4 of the paper as a picture; 4 as two, left and right.

    Returns:
      Lines for the user: what figure 1 says, or of how many images figure 4 is, and the files' names.

    Raises:
      UserError: a file can't be written, or what the figure is of is not there.
    """
    path = absolute(asked.workdir)
    if number == 1:
        progress.note(f"reading the logs of the sweep {asked.workdir}")
        facts = figure1.gather(path, sweep_lib.read(path))
        return [facts.text(), _save(figure1.draw(facts), save)]
    progress.note(progress.reading(asked.workdir, asked.step))
    net = restore(asked.workdir, asked.step)
    if number == 3:
        return [_save(figure3.draw_kernels(figure3.first_kernels(net)), save)]
    config = report_images.config_of(asked)
    cache = report_images.cache_of(asked, net, config)
    guesses, near = report_images.guesses_and_neighbours(net, cache, asked.views)
    name = Path(save)
    left, right = (str(name.with_stem(f"{name.stem}-{side}")) for side in ("left", "right"))
    return [
        f"the nearest of {near.searched:,} of {net.data.splits['train']:,} training images",
        _save(figure4.draw_predictions(guesses), left),
        _save(figure4.draw_neighbours(near, net.data.class_words), right),
    ]


def render(template: str, facts: Any) -> str:
    """A page of facts: the same for the same ones."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"uri": image_uri, "percent": _percent}
    return environment.get_template(template).render(facts=facts)


def image_uri(image: np.ndarray) -> str:
    """An image as an address that holds it: a small or computed one to the bit, a photograph as JPEG.

    Args:
      image: uint8, or floats between 0 and 1, of shape (height, width, 3).
    """
    kind, computed = "png", image.dtype != np.uint8
    picture = Image.fromarray(np.uint8(np.round(255 * image)) if computed else image)
    file = io.BytesIO()
    if computed or max(picture.size) <= _SMALL:
        picture.save(file, "PNG", optimize=True)
    else:
        kind = "jpeg"
        picture.thumbnail((_SHOWN, _SHOWN))
        picture.save(file, "JPEG", quality=85)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def _percent(fraction: float, digits: int = 1) -> str:
    return f"{100 * fraction:.{digits}f}\N{NO-BREAK SPACE}%"


def _save(drawing: Figure, name: str) -> str:
    """As the kind of picture that the name ends in, without the time."""
    file = io.BytesIO()
    kind = name.lower().rpartition(".")[2]
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}[kind]
    with matplotlib.rc_context({"svg.hashsalt": "figure"}):
        drawing.savefig(file, format=kind, dpi=150, metadata=metadata)
    _write(name, file.getvalue())
    return name


def _write(name: str, content: bytes) -> None:
    try:
        files.write(absolute(name), content)
    except OSError as error:
        raise UserError(f"--save={name} can't be written: {error.strerror or error}") from error
