"""Write a report: the page of a training or a sweep, as self-contained HTML, or a figure as a picture."""

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import numpy as np
from etils import epath
from matplotlib.figure import Figure
from PIL import Image

from alexnet_jax import files
from alexnet_jax.config.overrides import data_location
from alexnet_jax.errors import RunError
from alexnet_jax.files import absolute
from alexnet_jax.paper import figure1, figure3, figure4, fonts
from alexnet_jax.report import images as report_images
from alexnet_jax.report import sweep as report_sweep
from alexnet_jax.report import training as report_training
from alexnet_jax.report.request import Request
from alexnet_jax.runtime import progress
from alexnet_jax.sweep import directory
from alexnet_jax.text import visible_lines
from alexnet_jax.training.restored import restore

_SMALL = 64  # pixels: images up to this size are kept unchanged
_SHOWN = 192  # pixels: longer side of other images in the page


def page(request: Request, save: str, warn: Callable[[str], None]) -> str:
    """Write the page of a training or of a sweep.

    Args:
      request: directory to report on, with options.
      save: name of the file.
      warn: function that takes a line about each problem, such as missing images.

    Returns:
      The name of the file.

    Raises:
      UserError: the workdir lacks what is requested.
      RunError: the file can't be written.
    """
    path = absolute(request.workdir)
    if directory.is_sweep(path):
        progress.note(f"reading the logs of the sweep {request.workdir}")
        html = render("sweep.html.jinja", report_sweep.gather(request.workdir, path, absolute(save).parent))
    else:
        html = render("training.html.jinja", report_training.gather(request, warn))
    _write(save, html.encode())
    return save


def figure(number: int, request: Request, save: str) -> list[str]:
    """Write figure 1, 3 or 4 of the paper as a picture; figure 4 as two, left and right.

    Args:
      number: number of the figure.
      request: directory of the figure; for figures 3 and 4 also the step; for figure 4 the views and the
        location of the data.
      save: name of the file.

    Returns:
      Lines to print: the results of figure 1 or the number of searched images of figure 4, then the files.

    Raises:
      UserError: the workdir lacks what the figure shows.
      RunError: a file can't be written.
    """
    path = absolute(request.workdir)
    if number == 1:
        progress.note(f"reading the logs of the sweep {request.workdir}")
        facts = figure1.gather(path, directory.read(path))
        return [facts.text(), _save(figure1.draw(facts), save)]
    progress.note(progress.reading(request.workdir, request.step))
    net = restore(request.workdir, request.step)
    if number == 3:
        return [_save(figure3.draw_kernels(figure3.first_kernels(net)), save)]
    given = data_location("report", net.config, list(request.overrides))
    found = figure4.gather(net, report_images.cache_of(request, net, given), request.views)
    name = epath.Path(save)
    left, right = (str(name.with_stem(f"{name.stem}-{side}")) for side in ("left", "right"))
    with fonts.for_any_script():
        files_written = [
            _save(figure4.draw_predictions(found.predictions), left),
            _save(figure4.draw_neighbours(found.neighbours, net.data.class_words), right),
        ]
    return [
        f"searched {found.neighbours.searched:,} of {net.data.splits['train']:,} training images",
        *files_written,
    ]


def render(template: str, facts: Any) -> str:
    """Return a page as HTML; the same facts give the same bytes.

    Args:
      template: file name of the template.
      facts: the `Facts` that it shows.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"uri": image_uri, "percent": _percent}
    return visible_lines(environment.get_template(template).render(facts=facts))


def image_uri(image: np.ndarray) -> str:
    """Return an image as a ``data:`` URI: PNG if it is small or computed, JPEG for a photograph.

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
    """Save in the format of the name's suffix, without a date: the same figure gives the same bytes."""
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
        raise RunError(f"--save={name} can't be written: {error.strerror or error}") from error
