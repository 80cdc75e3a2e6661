"""A file of features, .npy or .parquet, that is written batch by batch and resumes after a kill.

    FILE.part           the rows so far, as .npy
    FILE.part.json      how many images they belong to: replaced every second, once the rows are on the disk
    FILE, FILE.json     the result

Rows after those that FILE.part.json counts are cut off when the file is opened again. So a run that was
killed ends with the same bytes.
"""

import contextlib
import io
import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from alexnet_jax import files, schema
from alexnet_jax.errors import UserError
from alexnet_jax.remote.paths import on_disk
from alexnet_jax.schema import Count

_SUFFIXES = (".npy", ".parquet")
_ROW_GROUP = 2**26  # bytes of features in a row group of Parquet
_SAVE_EVERY = 1.0  # seconds


def check_path(save: str | os.PathLike[str]) -> Path:
    """Return the absolute path of a file of features.

    Raises:
      UserError: its suffix names no known format, or it is in a bucket.
    """
    on_disk(save, "the file of features", "write it to a disk, and copy it then")
    path = Path(files.absolute(save))
    if path.suffix not in _SUFFIXES:
        raise UserError(f"{os.fspath(save)} must end in {' or '.join(_SUFFIXES)}")
    return path


class _State(TypedDict):
    """The content of ``FILE.part.json``: what is written, and how far it is."""

    request: dict[str, Any]
    done: Count
    left_out: dict[str, str]


class FeatureFile:
    """A file of features that is being written. Use it as a context manager, which locks it.

    Args:
      path: path of the result, which ends in one of `_SUFFIXES`.
      request: what the file holds: strings and numbers. A file with another request is not continued.
      shape: shape of the features of an image.

    Attributes:
      done: number of images that are done, with those left out.
      left_out: the reason for each image that is left out, by its position.
      record: content of the JSON file, if the result is already there; otherwise None.

    Raises:
      UserError: there is a file of other features, another process writes it, or it is damaged.
    """

    def __init__(self, path: Path, request: dict[str, Any], shape: tuple[int, ...]) -> None:
        self.path, self.done = path, 0
        self.left_out: dict[int, str] = {}
        self.record: dict[str, Any] | None = None
        self._request, self._shape = request, shape
        self._part, self._state = Path(f"{path}.part"), Path(f"{path}.part.json")
        self._described = Path(f"{path}.json")

    def __enter__(self) -> "FeatureFile":
        with contextlib.ExitStack() as stack:
            lock = Path(f"{self.path}.lock")
            stack.enter_context(files.locked(lock, self._busy))
            stack.callback(lock.unlink, missing_ok=True)
            self.record = self._finished()
            if self.record is None:
                self._read_state()
                self._file = stack.enter_context(self._part.open("r+b" if self.done else "w+b"))
                self._resume()
            self._closing = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def add(self, features: np.ndarray, done: int, left_out: dict[int, str]) -> None:
        """Append the features of a batch. They are permanent after a second at most.

        Args:
          features: float32 of shape (images, ...), without the images that are left out.
          done: number of images that are done with this batch.
          left_out: the reason for each image of the batch that is left out, by its position.
        """
        self._file.write(np.ascontiguousarray(features, "<f4").data)
        self.done = done
        self.left_out |= left_out
        if time.monotonic() - self._saved > _SAVE_EVERY:
            self._save()

    def finish(
        self,
        names: Sequence[str],
        labels: np.ndarray | None,
        class_names: tuple[str, ...],
        record: dict[str, Any],
    ) -> tuple[int, ...]:
        """Write the result, and delete the parts.

        Args:
          names: names of all images, which are done.
          labels: their labels; None if they are unknown.
          class_names: names of the classes, by label.
          record: what else the JSON file describes.

        Returns:
          The shape of the features.
        """
        kept = [row for row in range(self.done) if row not in self.left_out]
        shape = (len(kept), *self._shape)
        self._file.seek(0)
        self._file.write(_header(shape))
        self._save()
        left_out = {names[row]: reason for row, reason in self.left_out.items()}
        record = record | {"shape": shape, "class_names": class_names, "left_out": left_out}
        names = [names[row] for row in kept]
        known = None if labels is None else [int(labels[row]) for row in kept]
        result = self._part
        if self.path.suffix == ".npy":
            record |= {"names": names, "labels": known}
        else:
            result = self._parquet(names, known, class_names, record)
        files.write_json(self._described, record | {"request": self._request})
        result.replace(self.path)
        files.sync_directory(self.path.parent)
        self._delete_parts()
        return shape

    def _finished(self) -> dict[str, Any] | None:
        """Return the record of a result with the same request; None if there is no result."""
        if not self.path.exists():
            return None
        try:
            record: dict[str, Any] = json.loads(self._described.read_bytes())
            found = record["request"]
        except (OSError, ValueError, LookupError) as error:
            raise UserError(
                f"{self.path} exists, and {self._described.name} beside it does not describe it:"
                " choose another file"
            ) from error
        self._check(self.path, found)
        self._delete_parts()
        return record

    def _delete_parts(self) -> None:
        self._part.unlink(missing_ok=True)
        self._state.unlink(missing_ok=True)

    def _busy(self) -> None:
        raise UserError(f"another process writes {self.path}: wait for it, or choose another file")

    def _check(self, path: Path, found: dict[str, Any]) -> None:
        for key, wanted in self._request.items():
            if found.get(key) != wanted:
                raise UserError(
                    f"{path} holds other features (its {key}: {found.get(key)}; asked for: {wanted}):"
                    " choose another file, or delete it"
                )

    def _read_state(self) -> None:
        """Read how far an earlier run has come."""
        if not self._state.exists() or not self._part.exists():
            return
        try:
            state: _State = schema.read_json(self._state, _State)
        except (OSError, ValueError) as error:
            raise UserError(f"{self._state} is damaged: delete it to start again") from error
        self._check(self._part, state["request"])
        self.done = state["done"]
        self.left_out = {int(row): reason for row, reason in state["left_out"].items()}

    def _resume(self) -> None:
        """Cut off what an earlier run has begun to write, and go to the end."""
        header = _header((0, *self._shape))
        end = len(header) + 4 * math.prod(self._shape) * (self.done - len(self.left_out))
        if self.done and self._part.stat().st_size < end:
            raise UserError(f"{self._part} is damaged (it is truncated): delete it to start again")
        self._file.write(header)
        self._file.truncate(end)
        self._file.seek(end)
        self._save()

    def _save(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._saved = time.monotonic()
        left_out = {str(row): reason for row, reason in self.left_out.items()}
        files.write_json(self._state, _State(request=self._request, done=self.done, left_out=left_out))

    def _parquet(
        self, names: list[str], labels: list[int] | None, class_names: tuple[str, ...], record: dict[str, Any]
    ) -> Path:
        """Copy the part into a Parquet file in row groups, and return its path."""
        features = np.load(self._part, mmap_mode="r")
        length = math.prod(self._shape)
        columns = [("name", pa.string()), ("features", pa.list_(pa.float32(), length))]
        if labels is not None:
            columns[1:1] = [("label", pa.int32()), ("class", pa.string())]
        about = pa.schema(columns).with_metadata({"alexnet_jax": json.dumps(record)})
        path = Path(f"{self._part}.parquet")

        def text(name: str) -> str:
            return name.encode("utf-8", "backslashreplace").decode()

        with path.open("wb") as file, pq.ParquetWriter(file, about, use_dictionary=["class"]) as writer:
            for rows in _groups(len(names), max(1, _ROW_GROUP // (4 * length))):
                values = pa.array(np.ascontiguousarray(features[rows]).reshape(-1))
                arrays = [
                    pa.array([text(name) for name in names[rows]], pa.string()),
                    pa.FixedSizeListArray.from_arrays(values, length),
                ]
                if labels is not None:
                    words = [text(class_names[label]) for label in labels[rows]]
                    arrays[1:1] = [pa.array(labels[rows], pa.int32()), pa.array(words, pa.string())]
                writer.write_table(pa.Table.from_arrays(arrays, schema=about))
            writer.close()
            file.flush()
            os.fsync(file.fileno())
        return path


def _groups(count: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def _header(shape: tuple[int, ...]) -> bytes:
    """Return the header of a .npy file. It has the same length for any number of rows."""
    stream = io.BytesIO()
    about = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, about)
    return stream.getvalue()
