"""The files that an export writes, and the checks that need no JAX."""

import os
import re

from etils import epath
from ml_collections import ConfigDict

from alexnet_jax import files
from alexnet_jax.errors import UserError
from alexnet_jax.files import absolute
from alexnet_jax.weights.formats import find
from alexnet_jax.weights.rendering import MARK

_MOST_TEXT = 2**24  # bytes of a text beside the parameters


def paths(to: str, save: str | os.PathLike[str]) -> tuple[epath.Path, ...]:
    """Return the paths of the files of an export. The first one is ``save``.

    Args:
      to: name of the format.
      save: path of the file with the parameters.

    Raises:
      UserError: there is no such format, its package is missing, the name has another ending, or a file of
        somebody else would be replaced.
    """
    ending, *beside = find(to).ENDINGS
    file = absolute(save)
    if not file.name.lower().endswith(ending):
        raise UserError(f"{os.fspath(save)} must end in {ending}, as files of the format {to} do")
    stem = file.name[: -len(ending)]
    # The name of a module is an identifier.
    name = re.sub(r"^(?=\d)", "_", re.sub(r"\W", "_", stem, flags=re.ASCII))
    others = [file.parent / f"{name if end.endswith('.py') else stem}{end}" for end in beside]
    for path in others:
        if path.exists() and not path.is_dir() and not _is_ours(path):
            raise UserError(f"{path} is not by alexnet-jax export: move it, or choose another file")
    return (file, *others)


def _is_ours(path: epath.Path) -> bool:
    """Return whether `export` has written a text."""
    try:
        return MARK.encode() in files.read(path, _MOST_TEXT)
    except (OSError, ValueError):
        return False


def check(to: str, config: ConfigDict) -> None:
    """Check that a format can express the network of a config.

    Raises:
      UserError: it lacks a layer, or something else of the network.
    """
    try:
        find(to).check(config)
    except UserError as error:
        raise UserError(f"the format {to} can't express this network, but stablehlo can: {error}") from error
