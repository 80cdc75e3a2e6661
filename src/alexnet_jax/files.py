"""Files that are whole or not there, and where they are."""

import json
import os
from typing import Any

from etils import epath


def absolute(path: str | os.PathLike[str]) -> epath.Path:
    """A path as Orbax wants it, of a disk or of a bucket."""
    return epath.Path(path).expanduser().resolve()


def write(path: epath.Path, content: bytes) -> None:
    """Writes beside ``path`` and renames, so that a process that dies leaves the old file or the new one."""
    beside = path.with_name(path.name + ".writing")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    except BaseException:  # a full disk is not to hold half a file
        beside.unlink(missing_ok=True)
        raise


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """A result for programs, at a path as a user types it."""
    text = json.dumps(content, indent=1) + "\n"
    place = absolute(path)
    if place.exists() and not place.is_file():  # a pipe or a device
        place.write_text(text)
    else:
        write(place, text.encode())
