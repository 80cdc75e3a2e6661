"""The texts beside a file of weights, which have templates."""

from pathlib import Path
from typing import Any

import jinja2

MARK = "Written by alexnet-jax export."
"""The sentence in each text. A file without it is somebody else's."""


def render(template: str, facts: dict[str, Any]) -> bytes:
    """Return the content of a file, UTF-8.

    Args:
      template: name of the template.
      facts: its variables.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=False,  # the texts are no HTML
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(template).render(facts, mark=MARK).encode()
