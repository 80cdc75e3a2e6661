"""The source ``parquet:PATH``: tables with an image and a label in each row, as on the Hugging Face hub.

An image is a struct of bytes and a path, or the bytes of an image file. A label is an integer, whose name may
be in the metadata of the ``datasets`` library, or a word. PyArrow is imported on first use.
"""

import bisect
import collections
import contextlib
import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from alexnet_jax import files
from alexnet_jax.data.images import BadImage
from alexnet_jax.data.listed import NO_LABEL, chosen, classes_of, splits_of, stamp
from alexnet_jax.data.source import Example, Options, Source
from alexnet_jax.data.split_files import split_files, split_words
from alexnet_jax.errors import UserError
from alexnet_jax.text import first_of

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_ROWS = 32  # that are decoded at once

_Columns: TypeAlias = tuple[str, str, tuple[str, ...] | None]
"""The column of the image, that of the label, and the names of the classes if the metadata has them."""


def open_parquet(path: str, options: Options) -> Source:
    """Open Parquet files, whose names contain their splits.

    Args:
      path: as in `split_files`.
      options: ``columns`` are those of the image and the label.

    Raises:
      UserError: a file is missing or damaged, it has no images or labels, several columns may hold them, or a
        folder holds several data sets.
    """
    by_split = split_files(path, ".parquet")
    if (folder := Path(files.absolute(path))).is_dir():
        for of_split in by_split.values():
            _check_one_set(folder, of_split)
    paths = [file for of_split in by_split.values() for file in of_split]
    columns: list[_Columns] = []
    labels_of: list[list[Any]] = []
    for file in paths:
        with _explained(file):
            table = _open(file)
            columns.append(_columns(table.schema_arrow, options.columns, str(file)))
            if columns[-1] != columns[0]:
                raise UserError(
                    f"config.data.source: {file} has other columns or classes than {paths[0]}: give a pattern"
                    " that matches the files of one data set"
                )
            labels_of.append(table.read([columns[0][1]]).column(0).to_pylist())
            if len(labels_of[-1]) and all(x is None for x in next(_batches(table, columns[0][0], 0))):
                raise UserError(
                    f"config.data.source: {file} has no images in the column {columns[0][0]}, perhaps only"
                    " their paths: write it with the bytes of the images, as Dataset.push_to_hub does"
                )
    image, _, declared = columns[0]
    begins = np.cumsum([0, *map(len, labels_of)])
    flat = [label for of_file in labels_of for label in of_file]
    if declared is None:
        class_names, labels = classes_of(["" if x is None else str(x) for x in flat], path)
    else:
        class_names = declared
        try:
            labels = np.array([-1 if x is None else x for x in flat], np.int64)
        except OverflowError as error:  # uint64
            most = max(x for x in flat if x is not None)
            raise UserError(
                f"config.data.source: {path} has the label {most}, but labels must be from 0 to"
                f" {len(class_names) - 1}: correct it"
            ) from error
    read = _Examples(tuple(map(str, paths)), begins, image, labels)
    rows, first = {}, 0
    for split, of_split in by_split.items():
        rows[split] = np.arange(begins[first], begins[first + len(of_split)])
        first += len(of_split)
    left_out = {NO_LABEL: [read.name(i) for i in np.flatnonzero(labels < 0).tolist()]}
    splits, notes = splits_of(read, labels, rows, class_names, options, path, left_out)
    described = json.dumps([columns[0], [(file.name, file.stat().st_size) for file in paths]])
    version = hashlib.sha256(described.encode() + labels.tobytes()).hexdigest()[:12]
    times = stamp(file.stat() for file in paths)
    return Source("parquet", version, class_names, splits, None, times, left_out, notes)


def _check_one_set(folder: Path, of_split: Sequence[Path]) -> None:
    """Check that the files of a split lie in one folder, apart from folders that name the split."""
    parents = [path.parent.relative_to(folder) for path in of_split]
    sets = {"/".join(part for part in parent.parts if not split_words(part)) for parent in parents}
    if len(sets) > 1:
        names = first_of(sorted(name or "." for name in sets))
        raise UserError(
            f"config.data.source: {folder} has files in several folders, {names}, which may be different data"
            f" sets: name one of them, or if they are one data set, give the pattern '{folder}/**/*.parquet'"
        )


@dataclasses.dataclass(frozen=True)
class _Examples:
    """A reader of examples by number. Each process opens the files itself.

    Attributes:
      paths: paths of the files.
      begins: number of the first row of each file, and the number of all rows.
      column: column of the image.
      labels: labels of all rows.
    """

    paths: Sequence[str]
    begins: np.ndarray
    column: str
    labels: np.ndarray

    def __call__(self, i: int) -> Example:
        path, row = self._place(i)
        return Example(self.name(i), int(self.labels[i]), functools.partial(_read, path, self.column, row))

    def name(self, i: int) -> str:
        """Return a name for messages."""
        return "{}: row {}".format(*self._place(i))

    def _place(self, i: int) -> tuple[str, int]:
        number = int(np.searchsorted(self.begins, i, side="right")) - 1
        return self.paths[number], i - int(self.begins[number])


def _read(path: str, column: str, row: int) -> bytes:
    with _explained(Path(path)):
        content = _reader(path, column)[row]
    if content is None:
        raise BadImage("the row has no image")
    return content


@functools.lru_cache(1)  # rows are read in order
def _reader(path: str, column: str) -> "_Reader":
    return _Reader(path, column)


class _Reader:
    """The images of a file by row. Rows in ascending order are decoded once; only a few are in memory."""

    def __init__(self, path: str, column: str) -> None:
        self._file, self._column = _open(Path(path)), column
        groups = (self._file.metadata.row_group(i) for i in range(self._file.metadata.num_row_groups))
        self._begins = np.cumsum([0, *(group.num_rows for group in groups)])
        self._batches: Iterator[list[bytes | None]] = iter(())
        self._batch: list[bytes | None] = []
        self._first = 0  # row of the batch

    def __getitem__(self, row: int) -> bytes | None:
        group = bisect.bisect_right(self._begins, row) - 1
        if row < self._first or self._begins[group] > self._first + len(self._batch) or not self._batch:
            self._first, self._batch = int(self._begins[group]), []
            self._batches = _batches(self._file, self._column, group)
        while row >= self._first + len(self._batch):
            self._first += len(self._batch)
            self._batch = next(self._batches)
        return self._batch[row - self._first]


def _open(path: Path) -> "pq.ParquetFile":
    import pyarrow.parquet as pq

    if not path.is_file():  # opening a pipe would wait for a writer
        raise UserError(f"config.data.source: {path} is not a file")
    # A column may be read in small parts, even if the file has a single group of rows.
    return pq.ParquetFile(path, buffer_size=2**20, pre_buffer=False)


def _batches(file: "pq.ParquetFile", column: str, group: int) -> Iterator[list[bytes | None]]:
    """Yield the images in batches from a group of rows on."""
    import pyarrow as pa

    groups = range(group, file.metadata.num_row_groups)
    is_struct = pa.types.is_struct(file.schema_arrow.field(column).type)
    names = [f"{column}.bytes" if is_struct else column]
    for batch in file.iter_batches(_ROWS, row_groups=groups, columns=names, use_threads=False):
        images = batch.column(0)
        yield (images.flatten()[0] if is_struct else images).to_pylist()


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn PyArrow's exceptions into a `UserError` that names the file."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, StopIteration, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split()) or "it has fewer rows than it declares"
        raise UserError(f"config.data.source: {path} can't be read: {reason}: copy it again") from error


def _columns(schema: "pa.Schema", wanted: tuple[str, str] | None, where: str) -> _Columns:
    """Return the columns of the image and the label.

    Raises:
      UserError: there are none, or several.
    """
    import pyarrow as pa

    features = _features(schema)
    images = [field.name for field in schema if _is_image(field.type)]
    labels = [field.name for field in schema if _is_label(field.type)]
    named = {
        kind: [name for name in features if features[name]["_type"] == kind]
        for kind in ("Image", "ClassLabel")
    }
    image_wanted, label_wanted = wanted or (None, None)
    image = chosen([x for x in images if x in named["Image"]] or images, image_wanted, where, "image", images)
    label = chosen(
        [x for x in labels if x in named["ClassLabel"]] or labels, label_wanted, where, "label", labels
    )
    for found, what in (
        (image, "images (structs of bytes and path, or bytes)"),
        (label, "labels (integers or words)"),
    ):
        if found is None:
            raise UserError(
                f"config.data.source: {where} has no column of {what}; its columns are"
                f" {', '.join(schema.names)}. If one holds them, check --config.data.columns=IMAGE,LABEL"
            )
    assert image is not None
    assert label is not None
    is_number = pa.types.is_integer(schema.field(label).type)
    names = features.get(label, {}).get("names")
    if not is_number or not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return image, label, None
    if repeated := [name for name, count in collections.Counter(names).items() if count > 1]:
        raise UserError(
            f"config.data.source: {where} has several classes with the same name, {first_of(repeated)}: write"
            " it with other names of the classes"
        )
    return image, label, tuple(names)


def _features(schema: "pa.Schema") -> dict[str, dict[str, Any]]:
    """Return the features that the ``datasets`` library has written, by column."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: dict(feature) for name, feature in features.items() if "_type" in feature}
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):  # another library's metadata
        return {}


def _is_image(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _is_image(kind.field("bytes").type)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _is_label(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _is_label(kind.value_type)
    return pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)
