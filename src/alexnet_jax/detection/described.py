"""Photographs and objects as a file describes them, before they are checked."""

import contextlib
import dataclasses
import os
import xml.etree.ElementTree
from collections.abc import Iterator

from alexnet_jax import files
from alexnet_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Object:
    """An object in a photograph.

    Attributes:
      class_name: name of its class; None if the file does not say which.
      box: (x1, y1, x2, y2), as in `boxes`.
      difficult: whether it is marked as difficult.
    """

    class_name: str | None
    box: tuple[float, float, float, float]
    difficult: bool


@dataclasses.dataclass(frozen=True)
class Described:
    """A photograph and its objects.

    Attributes:
      path: path of its file.
      size: (height, width) in pixels.
      objects: its objects.
    """

    path: str
    size: tuple[int, int]
    objects: tuple[Object, ...]


@contextlib.contextmanager
def reading(path: os.PathLike[str]) -> Iterator[None]:
    """Raise a `UserError` of one line if a file can't be read, or has other content."""
    try:
        yield
    except (OSError, ValueError, xml.etree.ElementTree.ParseError) as error:
        what = files.explained(error)
        raise UserError(f"{path} can't be read ({what}): repair it, or leave it out of --list") from error
