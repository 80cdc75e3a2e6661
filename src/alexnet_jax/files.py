"""Paths, files that are either complete or absent, and locks.

A workdir may come from a stranger. So nothing is written through a symbolic link inside it, and only regular
files of a limited size are read. Links at the workdir itself and above it are the user's own.
"""

import contextlib
import errno
import fcntl
import json
import os
import re
import secrets
import stat
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from etils import epath

from alexnet_jax.errors import UserError, causes
from alexnet_jax.remote.paths import BUCKET, in_bucket

# Errors of network file systems without locks.
_NO_LOCKS = frozenset([errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
# Errors of file systems that can't sync a directory.
_NO_SYNC = frozenset([errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF])
# Errors for which a file that is read is not to blame. A failing disk (EIO) counts as a damaged file.
_OF_THE_SYSTEM = frozenset([errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ETIMEDOUT]) | {
    *[errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ESTALE]
}
_TENSORSTORE = re.compile(r"os_error_code='(\d+)'")
_UNFINISHED = ".writing"


def absolute(path: str | os.PathLike[str]) -> epath.Path:
    """Return the absolute path, on a disk or in a bucket, with ``~`` expanded.

    A ``~name`` whose user does not exist stays as it is. Links are not followed.

    Raises:
      UserError: it is a URL other than gs://BUCKET/DIR, the packages for buckets are missing, or it begins
        with ``~`` and the user has no home folder.
    """
    return epath.Path(path) if in_bucket(path) else epath.Path(expanded(os.fspath(path))).resolve()


def expanded(path: str) -> str:
    """Return a path as it was typed, with ``~`` expanded.

    Raises:
      UserError: the user has no home folder.
    """
    if not path.startswith("~"):
        return path
    found = os.path.expanduser(path)  # noqa: PTH111 (which raises an error for an unknown user)
    if found.partition("/")[0] == "~":
        raise UserError(f"{path}: user {os.getuid()} has no home folder: set HOME, or write the whole path")
    return found


@contextlib.contextmanager
def creating(what: str, path: str | os.PathLike[str]) -> Iterator[None]:
    """Raise a `UserError` of one line if a directory can't be created or written.

    Args:
      what: what it is, for the message.
      path: path of the directory.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        for each in () if is_remote(path) else (Path(path), *Path(path).parents):
            if os.path.islink(each) and not os.path.exists(each):  # noqa: PTH110, PTH114 (no error for any name)
                reason = f"{each} is a link to {each.readlink()}, which does not exist"
        raise UserError(f"{what} {os.fspath(path)} can't be written: {reason}") from error


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is in a bucket."""
    return os.fspath(path).startswith(BUCKET)


def read(path: str | os.PathLike[str], most: int) -> bytes:
    """Read a regular file of at most ``most`` bytes.

    Raises:
      ValueError: it is larger, or it is a folder, a pipe or a device.
    """
    target = epath.Path(path)
    if is_remote(target):
        if target.stat().length > most:
            raise ValueError(f"{target.name} has more than {most:,} bytes")
        return target.read_bytes()
    # Without O_NONBLOCK, opening a pipe would wait for a writer.
    descriptor = os.open(target, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{target.name} is not a regular file")
        if status.st_size > most:
            raise ValueError(f"{target.name} has {status.st_size:,} bytes, more than {most:,}")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(status.st_size)
    finally:
        os.close(descriptor)


def explained(error: Exception) -> str:
    """Return the text of an error, with the name of the file that an OSError is about."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{Path(error.filename).name}: {error.strerror}"
    return str(error)


def failure(error: BaseException) -> str | None:
    """Return why the system could not read or write a file that may be intact, such as too many open files.

    Return None if the file itself is to blame: it is missing, or has wrong content. TensorStore's errors are
    understood, and so are the causes of an error.
    """
    for cause in causes(error):
        if isinstance(cause, MemoryError):
            return "too little memory"
        found = _TENSORSTORE.search(str(cause))
        number = cause.errno if isinstance(cause, OSError) else int(found[1]) if found else None
        if number is not None and number in _OF_THE_SYSTEM:
            return os.strerror(number)
    return None


def checked(path: str | os.PathLike[str], most: int, checksums: Mapping[str, int]) -> bytes:
    """Read a file as `read` does, and compare its CRC-32 with the one that ``checksums`` has for its name.

    Raises:
      ValueError: it differs, or it is not listed; or see `read`.
    """
    content, name = read(path, most), Path(path).name
    if zlib.crc32(content) != checksums.get(name):
        raise ValueError(f"{name} has a wrong checksum")
    return content


def write(path: str | os.PathLike[str], content: bytes) -> None:
    """Replace a file in one step: a killed process or a power cut leaves the old file or the new one.

    If the file is a symbolic link, the link is replaced, not the file that it names.
    """
    target = epath.Path(path)
    if is_remote(target):  # an object appears when it is complete
        target.write_bytes(content)
        return
    beside = _beside(target)
    try:
        with beside.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
    except BaseException as error:  # do not leave half a file on a full disk
        beside.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = os.fspath(target)
        raise
    sync_directory(beside.parent)


def _beside(target: str | os.PathLike[str]) -> Path:
    """Return an unpredictable name that does not exist: nobody can have made it a link to another file."""
    return Path(target).with_name(f".{secrets.token_hex(8)}{_UNFINISHED}")


def check_writable(path: str | os.PathLike[str], as_json: bool) -> None:
    """Check that a file on a disk can be written, without changing it.

    Args:
      path: path of the file.
      as_json: whether `write_json` writes it. It accepts a pipe or a device, which `write` would replace.

    Raises:
      OSError: it is a folder or an open file such as ``/dev/stdout``, its name is too long, or its folder is
        missing or can't be written; or it is a pipe or a device, and ``as_json`` is false.
    """
    target = Path(path)
    with contextlib.suppress(FileNotFoundError):
        target.lstat()  # raises an error if the name is too long; from Python 3.14 on `exists` does not
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if target.exists() and not target.is_file():
        if as_json:
            return
        raise OSError(errno.EINVAL, "it is a pipe or a device", os.fspath(path))
    _, *folder = target.parent.resolve().parts
    if target.is_symlink() and (folder == ["dev"] or (folder[:1], folder[-1:]) == (["proc"], ["fd"])):
        raise OSError(errno.EINVAL, "it is an open file of this process", os.fspath(path))
    beside = _beside(path)
    beside.touch(exist_ok=False)
    beside.unlink()


def sync_directory(directory: Path) -> None:
    """Make the names in a directory permanent, which is necessary after a file was renamed."""
    _sync(directory, os.O_DIRECTORY)


def sync_all(directory: str | os.PathLike[str]) -> None:
    """Make a directory permanent: the files and folders in it, at any depth, and its own name."""
    if is_remote(directory):
        return
    for folder, _, names in os.walk(directory, topdown=False):  # Path.walk needs Python 3.12
        for name in names:
            _sync(Path(folder) / name)
        _sync(Path(folder), os.O_DIRECTORY)
    sync_directory(Path(directory).parent)


def _sync(path: Path, flags: int = 0) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)


def delete_unfinished(directory: str | os.PathLike[str]) -> None:
    """Delete the files that `write` left in a directory when its process was killed. Buckets have none."""
    if is_remote(directory):
        return
    for file in Path(directory).iterdir():
        if file.name.startswith(".") and file.name.endswith(_UNFINISHED) and not file.is_dir():
            file.unlink(missing_ok=True)


def refuse_link(path: str | os.PathLike[str]) -> None:
    """Raise a `UserError` if a path is a symbolic link."""
    if Path(path).is_symlink():
        raise _refusal(os.fspath(path), is_link=True)


def check_inside(directory: str | os.PathLike[str]) -> None:
    """Check that a directory holds only regular files and folders, at any depth.

    Call this before anything is written into a directory that may come from a stranger. The directory itself
    may be a link, and it may be missing. Buckets have no links.

    Raises:
      UserError: it holds something else, which the message names.
    """
    if (path := irregular(directory)) is not None:
        raise _refusal(path, Path(path).is_symlink())


def irregular(directory: str | os.PathLike[str]) -> str | None:
    """Return the path of a link, a pipe or a device in a directory, at any depth; None if it holds none.

    The directory itself may be a link, and it may be missing. Buckets have no links.
    """
    left = [] if is_remote(directory) else [os.fspath(directory)]
    while left:
        # Another process may remove a folder meanwhile.
        with contextlib.suppress(FileNotFoundError), os.scandir(left.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    left.append(entry.path)
                elif not entry.is_file(follow_symlinks=False):
                    return entry.path
    return None


def open_append(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open a file on a disk to append bytes, created if it does not exist. Opening a pipe does not wait.

    Raises:
      UserError: the file is a symbolic link.
    """
    return os.fdopen(_descriptor(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK), "ab")


def _descriptor(path: str | os.PathLike[str], flags: int) -> int:
    """Open or create a file without following a link, and return its descriptor."""
    try:
        return os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _refusal(os.fspath(path), is_link=True) from error
        raise


def _refusal(path: str, is_link: bool) -> UserError:
    what = f"a symbolic link to {Path(path).readlink()}" if is_link else "neither a file nor a folder"
    return UserError(f"{path} is {what}, and alexnet-jax does not write through it: remove it")


def as_json(content: Any) -> bytes:
    """Return a value that `json.dumps` accepts as the content of a JSON file."""
    return (json.dumps(content, indent=1) + "\n").encode()


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write a result as JSON.

    Args:
      path: path of the file, as a user types it. A pipe or a device is written directly, which waits for a
        reader. So this is not for files in a workdir, which may come from a stranger.
      content: a value that `json.dumps` accepts.
    """
    target = absolute(path)
    if (
        not is_remote(target) and Path(target).exists() and not Path(target).is_file()
    ):  # epath's is_file differs
        Path(target).write_bytes(as_json(content))
    else:
        write(target, as_json(content))


@contextlib.contextmanager
def locked(path: Path | epath.Path, busy: Callable[[], None]) -> Iterator[None]:
    """Hold an advisory lock, which the system releases when the process dies.

    Do nothing if the file system has no locks. In buckets there is `remote.lease` instead.

    Args:
      path: path of the lock file on a disk, which is not removed.
      busy: function to call if another process holds the lock. If it returns, wait for that process.

    Raises:
      UserError: the lock file is a symbolic link.
    """
    held = False
    while not held:
        with os.fdopen(_descriptor(path, os.O_RDWR), "r+") as file:
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
