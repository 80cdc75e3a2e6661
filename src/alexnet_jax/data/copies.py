"""Copy the files of a cache between a disk and a bucket or a shared folder.

Several files are copied at a time, each in pieces, and compared with their checksums meanwhile. A file on a
disk gets its name when it is complete. A second call continues the files that were begun, and copies those
that are missing.
"""

import errno
import os
import shutil
import signal
import stat
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, TypeVar

from etils import epath

from alexnet_jax import files
from alexnet_jax.errors import BucketError, Interrupted, UserError
from alexnet_jax.runtime import progress
from alexnet_jax.text import size_in_words

T = TypeVar("T")

FULL = frozenset([errno.ENOSPC, errno.EDQUOT])
"""Error numbers that mean that a disk is full."""

THREADS = 16  # files at a time, because one connection to a bucket is much slower than the network of a host
_PIECE = 2**22  # bytes in memory for each file
_WAITS = (1.0, 5.0, 15.0, 30.0)  # seconds before each further attempt
# Errors for which another attempt is useless.
_LASTING = FULL | {
    errno.ENOENT,
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ELOOP,
}


def copy(
    source: epath.Path,
    target: epath.Path,
    manifest: Mapping[str, tuple[int, int]],
    advice: str,
    say: Callable[[str], None],
) -> None:
    """Copy the files that the target lacks.

    Args:
      source: directory of the files, on a disk or in a bucket.
      target: existing directory, on a disk or in a bucket. All files in it must be copies from this source.
      manifest: size and CRC-32 of each file, by name.
      advice: what the user can do if the disk of the target is too small, for the message.
      say: function that takes a line for the user.

    Raises:
      UserError: the disk has too little space. The bytes copied so far are kept.
      ValueError: a file of the source is damaged. The message names it.
      OSError: a file can't be read or written, and several attempts have failed.
      Interrupted: Ctrl-C was received. The bytes copied so far are kept.
    """
    there = _sizes(target)
    begun = {name: _copied(name, size, there) for name, (size, _) in manifest.items()}
    left = sum(size - begun[name] for name, (size, _) in manifest.items())
    _check_room(target, left, advice)
    done, total = sum(begun.values()), sum(size for size, _ in manifest.values())
    if done:
        say(f"resuming: {size_in_words(done)} of {size_in_words(total)} are copied")
    stop, last = threading.Event(), -1.0

    def complain(line: str) -> None:
        nonlocal last
        if time.monotonic() > last + 1:  # one line if all files fail at the same time
            last = time.monotonic()
            say(line)

    def copy_one(name: str) -> None:
        size, checksum = manifest[name]
        counted = begun[name]

        def count(copied: int) -> None:
            nonlocal counted
            if stop.is_set():
                raise InterruptedError
            bar.add(copied - counted)
            counted = copied

        to = _to_bucket if files.is_remote(target) else _to_disk
        _attempt(lambda: to(source / name, target / name, size, checksum, count), name, complain, stop)

    missing = [name for name, (size, _) in manifest.items() if there.get(name) != size]
    missing.sort(key=lambda name: -manifest[name][0])
    with progress.Long(done, total, "B", say) as bar, ThreadPoolExecutor(THREADS) as threads:
        try:
            for future in as_completed([threads.submit(copy_one, name) for name in missing]):
                future.result()
        except KeyboardInterrupt:
            raise Interrupted(signal.SIGINT, "the files copied so far are kept") from None
        except OSError as error:
            if error.errno not in FULL or files.is_remote(target):
                raise
            stop.set()
            threads.shutdown(cancel_futures=True)  # a file that is renamed meanwhile can't be measured
            there = _sizes(target)
            left = sum(size - _copied(name, size, there) for name, (size, _) in manifest.items())
            raise _no_room(target, left, advice) from error
        finally:
            stop.set()
            threads.shutdown(wait=False, cancel_futures=True)


def retried(call: Callable[[], T], name: str, say: Callable[[str], None]) -> T:
    """Call a function, and repeat the call a few times if a network file system fails.

    The error of a bucket is final, because `remote.bucket` has repeated the request already.

    Args:
      call: the function.
      name: name of what it reads or writes, for the user.
      say: function that takes a line for the user.

    Raises:
      OSError: the last attempt has failed, or waiting would not help.
    """
    return _attempt(call, name, say, threading.Event())


def _attempt(call: Callable[[], T], name: str, say: Callable[[str], None], stop: threading.Event) -> T:
    waits = iter(_WAITS)
    damaged = False
    while True:
        try:
            return call()
        except ValueError:  # an earlier piece of the copy may be damaged: copy the whole file once more
            if damaged or stop.is_set():
                raise
            damaged = True
        except (BucketError, FileNotFoundError, PermissionError):
            raise
        except OSError as error:
            if error.errno in _LASTING or stop.is_set() or (wait := next(waits, None)) is None:
                raise
            say(f"{name}: {files.explained(error) or type(error).__name__}; trying again in {wait:.0f} s")
            if stop.wait(wait):
                raise


def _to_disk(
    source: epath.Path, target: epath.Path, size: int, checksum: int, count: Callable[[int], None]
) -> None:
    """Copy a file, or continue a copy. After each piece call ``count`` with the size of the copy."""
    partial = target.with_name(_partial(target.name))
    with os.fdopen(
        os.open(partial, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666), "r+b"
    ) as file:
        found = 0
        if os.fstat(file.fileno()).st_size > size:
            file.truncate(0)
        while before := file.read(_PIECE):
            found = zlib.crc32(before, found)
            count(file.tell())
        try:
            for piece in _pieces(source, file.tell(), size):
                file.write(piece)
                found = zlib.crc32(piece, found)
                count(file.tell())
            if found != checksum:
                raise ValueError(f"{source.name} has a wrong checksum")
        except ValueError:
            partial.unlink()
            raise
        file.flush()
        os.fsync(file.fileno())
    partial.replace(target)


def _to_bucket(
    source: epath.Path, target: epath.Path, size: int, checksum: int, count: Callable[[int], None]
) -> None:
    """Copy a file into a bucket. If it fails or the checksum is wrong, the object is never complete."""
    found = copied = 0
    with target.open("wb") as file:
        for piece in _pieces(source, 0, size):
            found, copied = zlib.crc32(piece, found), copied + len(piece)
            if copied == size and found != checksum:
                raise ValueError(f"{source.name} has a wrong checksum")
            file.write(piece)
            count(copied)


def _pieces(source: epath.Path, start: int, size: int) -> Iterator[memoryview]:
    """Yield the bytes of a file from ``start``. A piece is valid until the next one.

    Raises:
      ValueError: the file does not have ``size`` bytes, or is not a regular file.
    """
    buffer = memoryview(bytearray(min(_PIECE, size)))
    with _open(source) as file:
        file.seek(start)
        while start < size:
            count = file.readinto(buffer[: size - start])
            if not count:
                raise ValueError(f"{source.name} has {start:,} of {size:,} bytes")
            start += count
            yield buffer[:count]
        if file.read(1):
            raise ValueError(f"{source.name} has more than {size:,} bytes")


def _open(source: epath.Path) -> Any:
    if files.is_remote(source):
        return source.open("rb")
    # Without O_NONBLOCK, opening a pipe would wait for a writer.
    file = os.fdopen(os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise ValueError(f"{source.name} is not a regular file")
    return file


def _partial(name: str) -> str:
    return f"{name}.writing"


def _sizes(directory: epath.Path) -> dict[str, int]:
    """Return the sizes of the files in a directory, by their names."""
    if files.is_remote(directory):
        from alexnet_jax.remote.bucket import sizes  # imports gcsfs, half a second

        return sizes(directory)
    with os.scandir(directory) as entries:
        return {entry.name: entry.stat(follow_symlinks=False).st_size for entry in entries}


def _copied(name: str, size: int, there: Mapping[str, int]) -> int:
    """Return how many bytes of a file are in the target, whose files have the sizes ``there``."""
    return size if there.get(name) == size else min(size, there.get(_partial(name), 0))


def _check_room(target: epath.Path, left: int, advice: str) -> None:
    """Check that the disk has space for ``left`` more bytes.

    Raises:
      UserError: it has too little.
    """
    if not files.is_remote(target) and left > shutil.disk_usage(target).free:
        raise _no_room(target, left, advice)


def _no_room(target: epath.Path, left: int, advice: str) -> UserError:
    free = size_in_words(shutil.disk_usage(target).free)
    return UserError(
        f"the rest of the cache needs {left:,} bytes ({size_in_words(left)}), but {target.parent} has {free}"
        f" free: free some space and run the same command again to continue, or {advice}"
    )
