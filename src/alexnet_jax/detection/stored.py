"""Arrays in files that name what they belong to, so that work continues after a kill."""

import contextlib
import io
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_jax import files
from alexnet_jax.errors import UserError
from alexnet_jax.runtime import progress

_IDENTITY = "identity"
_DAMAGED = (TypeError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError)


@contextlib.contextmanager
def held(out: str | os.PathLike[str]) -> Iterator[Path]:
    """Create and lock the folder of a detector, for the ``with`` block.

    Raises:
      UserError: it can't be written, another process works in it, or it holds links.
    """
    folder = Path(files.absolute(out))

    def complain() -> None:
        raise UserError(f"another process works in {folder}: wait for it, or take another --out")

    with files.creating("the folder", folder):
        folder.mkdir(parents=True, exist_ok=True)
        files.check_inside(folder)
    with files.locked(folder / "lock", complain):
        for each in (folder, *(found for found in folder.rglob("*") if found.is_dir())):
            files.delete_unfinished(each)
        yield folder


def save(path: Path, identity: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays and what they belong to, compressed, in one step. The format has a CRC-32 of each array.

    Raises:
      UserError: the folder can't be written.
    """
    content = io.BytesIO()
    named: dict[str, Any] = {_IDENTITY: np.array(identity), **arrays}
    np.savez_compressed(content, **named)
    with files.creating("the folder", path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, content.getvalue())


def exists(path: Path, identity: str) -> bool:
    """Return whether there is such a file. Its arrays are not read, so they may be damaged. See `load`."""
    return load(path, identity, ()) is not None


def load(path: Path, identity: str, names: Sequence[str]) -> dict[str, np.ndarray] | None:
    """Read arrays that `save` wrote. Return None if there is no file, or if it is damaged.

    A damaged file is reported and removed.

    Args:
      path: the file.
      identity: what the arrays must belong to.
      names: the arrays to read.

    Raises:
      UserError: they belong to something else.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            found = str(content[_IDENTITY])
            arrays = {name: content[name] for name in names}
    except FileNotFoundError:
        return None
    except _DAMAGED as error:
        progress.complain(f"{path} is damaged and removed ({error})")
        path.unlink()
        return None
    if found != identity:
        raise UserError(
            f"{path} belongs to {found}, not to {identity}: take another folder, or remove {path.parent}"
        )
    return arrays
