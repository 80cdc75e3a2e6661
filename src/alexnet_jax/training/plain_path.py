"""Paths that any library takes literally.

Orbax searches for files with glob patterns that begin with the path of a checkpoint. If this path is
``run[1]``, epath takes it for a part of the pattern, and finds nothing.
"""

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from etils import epath

from alexnet_jax.errors import UserError
from alexnet_jax.files import is_remote


@contextlib.contextmanager
def plain_path(directory: epath.Path) -> Iterator[epath.Path]:
    """Yield a path to a directory that has only letters, digits, and ``_``, ``.``, ``-`` and ``/``.

    This is the path itself, or a symbolic link that exists until the end of the ``with`` block.

    Raises:
      UserError: the path has a character of glob patterns, and no link can replace it: because it is in a
        bucket, or because the path of the folder for temporary files has such a character, too.
    """
    if is_remote(directory):
        if re.search(r"[][*?\\]", os.fspath(directory)):
            raise UserError(f"{directory} must not have any of the characters * ? [ ] \\: take another path")
        yield directory
    elif _is_plain(directory):
        yield directory
    else:
        if not _is_plain(tempfile.gettempdir()):
            raise UserError(
                f"{directory} has characters of glob patterns, and so has the folder for temporary files,"
                f" {tempfile.gettempdir()}: set TMPDIR to another folder"
            )
        with tempfile.TemporaryDirectory(prefix="alexnet-jax-") as private:
            link = Path(private) / "link"
            link.symlink_to(os.fspath(directory), target_is_directory=True)
            yield epath.Path(link)


def _is_plain(path: str | os.PathLike[str]) -> bool:
    return re.fullmatch(r"[\w./-]+", os.fspath(path), re.ASCII) is not None
