"""Paths, files that are either complete or absent, and locks."""

import contextlib
import errno
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from etils import epath

# Errors of network file systems without locks.
_NO_LOCKS = frozenset([errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])


def absolute(path: str | os.PathLike[str]) -> epath.Path:
    """Return the absolute path, on a disk or in a bucket, with ``~`` expanded.

    A ``~name`` whose user does not exist stays as it is. Links are not followed.
    """
    typed = epath.Path(path)
    return typed if is_remote(typed) else typed.expanduser().resolve()


def expanded(path: str) -> str:
    """Return a path as it was typed, with ``~`` expanded."""
    return os.fspath(epath.Path(path).expanduser()) if path.startswith("~") else path


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is in a bucket."""
    return "://" in os.fspath(path)


def write(path: str | os.PathLike[str], content: bytes) -> None:
    """Replace a file in one step: a process that is killed leaves the old file or the new one."""
    target = epath.Path(path)
    beside = target.with_name(target.name + ".writing")
    try:
        beside.write_bytes(content)
        beside.replace(target)
    except BaseException:  # do not leave half a file on a full disk
        beside.unlink(missing_ok=True)
        raise


def open_append(path: epath.Path) -> IO[bytes]:
    """Open a file to append bytes to it, created if it does not exist. A symbolic link is not followed."""
    if is_remote(path):
        return path.open("ab")

    def without_link(name: str, flags: int) -> int:
        # O_NONBLOCK: opening a pipe must not wait for a reader
        return os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)

    try:
        return open(path, "ab", opener=without_link)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "it is a symbolic link: remove it", os.fspath(path)) from error
        raise


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write a result as JSON.

    Args:
      path: path of the file, as a user types it. A pipe or a device is written directly.
      content: a value that `json.dumps` accepts.
    """
    text = json.dumps(content, indent=1) + "\n"
    target = absolute(path)
    if target.exists() and not target.is_file():
        target.write_text(text)
    else:
        write(target, text.encode())


@contextlib.contextmanager
def locked(path: Path | epath.Path, busy: Callable[[], None]) -> Iterator[None]:
    """Hold an advisory lock, which the system releases when the process dies.

    Do nothing if the file system has no locks, or the path is in a bucket.

    Args:
      path: path of the lock file, which is not removed.
      busy: function to call if another process holds the lock. If it returns, wait for that process.
    """
    if is_remote(path):
        yield
        return
    held = False
    while not held:
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                busy()
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
            # If the previous holder has removed the file, this lock excludes nobody: try again.
            held = path.exists() and Path(path).stat().st_ino == os.fstat(file.fileno()).st_ino
            if held:
                yield
