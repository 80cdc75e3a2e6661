"""Read the images in tar archives in place, by offset: nothing is unpacked."""

import dataclasses
import functools
import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from alexnet_jax.data.images import NO_FILE, BadImage, check_size
from alexnet_jax.data.source import Example
from alexnet_jax.errors import UserError
from alexnet_jax.text import visible

_BLOCK = 512
_PIECE = 2**20  # bytes that are read at once


@dataclasses.dataclass(frozen=True)
class Images:
    """Images in archives. Calling it with a number reads an example; it can be pickled.

    Attributes:
      paths: paths of the archives.
      names: names of the images.
      labels: labels of the images, int32 of shape (images,).
      archives: positions of their archives in ``paths``, of shape (images,).
      offsets: first byte of each image in its archive, int64 of shape (images,).
      sizes: sizes of the images in bytes, int64 of shape (images,).
    """

    paths: Sequence[str]
    names: Sequence[str]
    labels: np.ndarray
    archives: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray

    def __call__(self, i: int) -> Example:
        """Return an example by its number."""
        path = self.paths[self.archives[i]]
        place = int(self.offsets[i]), int(self.sizes[i])
        return Example(
            f"{path}: {self.names[i]}", int(self.labels[i]), functools.partial(_read, path, *place)
        )


def open_archive(path: Path) -> BinaryIO:
    """Open an archive for `members`.

    Raises:
      UserError: it is not a file that can be read.
    """
    try:
        if not path.is_file():
            raise UserError(f"config.data.source: {path} is not a file")
        return path.open("rb", buffering=2 * _BLOCK)  # most reads are of one header
    except OSError as error:
        raise UserError(f"config.data.source: {path} can't be read: {error.strerror}") from error


def members(file: BinaryIO, begin: int = 0, end: int | None = None) -> Iterator[tarfile.TarInfo]:
    """Yield the members of an archive, from their headers alone.

    Args:
      file: from `open_archive`.
      begin: byte at which the archive begins, which may lie in another archive.
      end: byte at which it ends; None for the end of the file.

    Raises:
      UserError: it is not an archive, it is compressed or damaged, or it ends early.
    """
    end = os.fstat(file.fileno()).st_size if end is None else end
    try:
        file.seek(begin)
        with tarfile.open(fileobj=file, mode="r:") as archive:
            while (member := archive.next()) is not None:
                if member.size < 0:  # older Pythons would go back, again and again
                    raise UserError(_early(file, member.offset))
                if member.offset_data + member.size > end:
                    raise UserError(_early(file, end))
                yield member
                archive.members.clear()  # type: ignore[attr-defined]  # a million would take a gigabyte
        _check_end(file, archive.offset, end)
    except tarfile.TarError as error:
        if not begin and os.pread(file.fileno(), 4, 0)[:2] in (b"\x1f\x8b", b"BZ", b"\xfd7", b"\x28\xb5"):
            raise UserError(
                f"config.data.source: {file.name} is compressed, but archives are read in place:"
                " decompress it, for example with gunzip"
            ) from error
        raise UserError(
            f"config.data.source: {file.name} can't be read as a tar archive ({error}): copy it again"
        ) from error
    except OSError as error:
        raise UserError(f"config.data.source: {file.name} can't be read: {error.strerror}") from error


def _check_end(file: BinaryIO, begin: int, end: int) -> None:
    """Check that zeros follow the last member. `tarfile` takes whatever is not a header for the end."""
    if os.pread(file.fileno(), min(_BLOCK, end - begin), begin) != bytes(_BLOCK):
        raise UserError(_early(file, begin))
    for start in range(begin, end, _PIECE):
        if os.pread(file.fileno(), min(_PIECE, end - start), start).strip(b"\0"):
            raise UserError(
                f"config.data.source: {file.name} continues after the end of an archive at byte {begin:,}:"
                " copy it again, and compare its checksum; if several were joined, keep each in its own file"
            )


def _early(file: BinaryIO, byte: int) -> str:
    return (
        f"config.data.source: {file.name} ends early or is damaged at byte {byte:,}: copy the archive again,"
        " and compare its checksum"
    )


def problem(member: tarfile.TarInfo) -> str | None:
    """Return the reason for which a member of an archive is left out; None for a regular file."""
    if member.name.startswith("/") or ".." in member.name.split("/"):
        return "members of archives with an absolute name or with '..' in it"
    if member.name.rpartition("/")[2].startswith("."):
        return "hidden members of archives"
    if not member.isreg() or member.issparse():
        return "members of archives that are links or special files"
    return None


def _read(path: str, offset: int, size: int) -> bytes:
    """Read an image.

    Raises:
      BadImage: it is missing, unreadable, or larger than 512 MB.
      OSError: another error, which may be temporary.
    """
    check_size(size)
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 (a million images)
            content = os.pread(file.fileno(), size, offset)
    except OSError as error:
        if error.errno not in NO_FILE:
            raise
        raise BadImage(error.strerror or str(error)) from error
    if len(content) != size:
        raise BadImage(f"{visible(path)} has become shorter")
    return content
