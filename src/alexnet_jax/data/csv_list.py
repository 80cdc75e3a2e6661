"""The source ``csv:FILE``: a list of image files with the label of each and, optionally, its split."""

import csv
import dataclasses
import errno
import functools
import io
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from alexnet_jax import files
from alexnet_jax.data.images import NO_FILE, file_content
from alexnet_jax.data.listed import LABEL_NAMES, NO_LABEL, chosen, classes_of, splits_of, stamp, version
from alexnet_jax.data.source import SPLIT_WORDS, Example, Options, Source
from alexnet_jax.errors import UserError
from alexnet_jax.text import first_of

_PATH_NAMES = ("path", "file", "filename", "file_name", "filepath", "image", "image_path")


@dataclasses.dataclass(frozen=True)
class _Row:
    """A row: the path of an image as it is written, its label, and its split, which is empty for none."""

    path: str
    label: str
    split: str


@dataclasses.dataclass(frozen=True)
class _Examples:
    """A reader of examples by number."""

    paths: Sequence[str]
    labels: np.ndarray

    def __call__(self, i: int) -> Example:
        return Example(self.paths[i], int(self.labels[i]), functools.partial(file_content, self.paths[i]))


def open_csv(path: str, options: Options) -> Source:
    """Open a list of images with the columns ``path``, ``label`` and optionally ``split``.

    The images are put in the order of their classes and paths.

    Args:
      path: file with values that are separated by commas, in UTF-8. Its first line has the names of the
        columns. Paths are relative to its folder.
      options: ``columns`` are those of the path and the label.

    Raises:
      UserError: the file can't be read, it lacks a column, images are missing, or one has several labels.
    """
    file = Path(files.absolute(path))
    file = Path(os.path.realpath(file.parent), file.name)  # names of images are relative to the real folder
    left_out: dict[str, list[str]] = defaultdict(list)
    unused: list[str] = []
    found = _found(file, _rows(file, options, unused), left_out)
    names = sorted(found)
    class_names, labels = classes_of([found[name][0].label for name in names], str(file))
    order = np.argsort(labels, kind="stable")
    names, labels = [names[i] for i in order], labels[order]
    left_out[NO_LABEL] += [name for name, label in zip(names, labels.tolist(), strict=True) if label < 0]
    of_split = np.array([found[name][0].split for name in names])
    rows = {split or None: np.flatnonzero(of_split == split) for split in np.unique(of_split).tolist()}
    paths = [os.path.normpath(os.path.join(file.parent, name)) for name in names]  # noqa: PTH118 (a million)
    read = _Examples(paths, labels)
    splits, notes = splits_of(read, labels, rows, class_names, options, str(file), left_out)
    status = [found[name][1] for name in names]
    lines = (f"{found[name][0].split} {name} {found[name][0].label}" for name in names)
    changes = version(lines, (each.st_size for each in status))
    if outside := [name for name in names if _is_outside(name, str(file.parent))]:
        notes += (f"{len(outside):,} images lie outside {file.parent} and are read: {first_of(outside)}",)
    if unused:
        notes += (f"columns that are not used: {first_of(unused)}",)
    return Source("csv", changes, class_names, splits, file.parent, stamp(status), left_out, notes)


def _found(
    file: Path, rows: Iterable[_Row], left_out: dict[str, list[str]]
) -> dict[str, tuple[_Row, os.stat_result]]:
    """Return the row and the status of each image, by its path in the folder of the list."""
    real = functools.cache(os.path.realpath)
    folder = str(file.parent)
    found: dict[str, tuple[_Row, os.stat_result]] = {}
    missing, count = [], 0
    for row in rows:
        count += 1
        if not row.path:
            left_out["rows without a path"].append(str(row.label))
            continue
        directory, base = os.path.split(os.path.join(folder, row.path))  # noqa: PTH118
        name = os.path.relpath(os.path.join(real(directory), base), folder)  # noqa: PTH118
        try:
            status = os.stat(os.path.join(folder, name))  # noqa: PTH116, PTH118
        except OSError as error:
            if error.errno not in NO_FILE | {errno.ENOTDIR}:
                raise UserError(f"config.data.source: {row.path} can't be read: {error.strerror}") from error
            missing.append(row.path)
            continue
        if (before := found.get(name)) is None:
            found[name] = row, status
        elif (row.label, row.split) == (before[0].label, before[0].split):
            left_out["rows that repeat an image"].append(row.path)
        else:
            labels = " and ".join(f"{x.label} {x.split}".strip() for x in (before[0], row))
            raise UserError(
                f"config.data.source: {file} lists {row.path} twice, as {labels}: remove one of the rows"
            )
    if missing:
        raise UserError(
            f"config.data.source: {len(missing):,} of the {count:,} images that {file} lists do not exist or"
            f" can't be read: {first_of(missing)}. Paths are relative to {folder}"
        )
    return found


def _is_outside(name: str, folder: str) -> bool:
    path = os.path.join(folder, name)  # noqa: PTH118
    real = os.path.realpath(path) if os.path.islink(path) else path  # noqa: PTH114
    return os.path.relpath(real, folder).startswith("../")


def _rows(file: Path, options: Options, unused: list[str]) -> Iterator[_Row]:
    """Read the list without its empty lines. Add the columns that are not used to ``unused``."""
    reader = csv.reader(io.StringIO(_text(file), newline=""), strict=True, skipinitialspace=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        columns = _columns(header, options.columns, file)
        others = {i: name or f"column {i + 1}" for i, name in enumerate(header) if i not in columns}
        unused += others.values()
        may_be_split: set[int] = set() if columns[2] is not None else set(others)
        empty = True
        for values in reader:
            if not any(map(str.strip, values)):
                continue
            if len(values) != len(header):
                raise UserError(
                    f"config.data.source: line {reader.line_num} of {file} has {len(values)} values, but the"
                    f" first line has {len(header)}: write a value with a comma in double quotes"
                )
            path, label, word = (values[i].strip() if i is not None else "" for i in columns)
            if columns[2] is not None and word.lower() not in SPLIT_WORDS:
                raise UserError(
                    f"config.data.source: line {reader.line_num} of {file} has the split {word!r}, but it"
                    " must be train, val or test"
                )
            may_be_split = {i for i in may_be_split if values[i].strip().lower() in SPLIT_WORDS}
            empty = False
            yield _Row(path, label, SPLIT_WORDS.get(word.lower(), ""))
        if may_be_split and not empty:
            column = others[min(may_be_split)]
            raise UserError(
                f"config.data.source: {file} has no column split, but the values of {column} are names of"
                " splits: name it split, or remove it"
            )
    except csv.Error as error:
        raise UserError(
            f"config.data.source: line {reader.line_num} of {file} can't be read: {error}"
        ) from error


def _text(file: Path) -> str:
    try:
        if not file.is_file():
            raise UserError(f"config.data.source: {file} is not a file: set csv:FILE to a list of images")
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"config.data.source: {file} can't be read: {error.strerror}") from error
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:  # as in UTF-16
        raise UserError(f"config.data.source: {file} is not text in UTF-8: save it as CSV in UTF-8")
    return text


def _columns(
    header: Sequence[str], wanted: tuple[str, str] | None, file: Path
) -> tuple[int, int, int | None]:
    """Return the positions of the path, the label and the split."""
    found = []
    needed = (("path", _PATH_NAMES), ("label", LABEL_NAMES))
    for (what, names), name in zip(needed, wanted or (None, None), strict=True):
        candidates = [each for each in dict.fromkeys(header) if each.lower() in names]
        column = chosen(candidates, name, str(file), what, header)
        if column is None:
            raise UserError(
                f"config.data.source: the first line of {file} has no column {name or what}, only"
                f" {', '.join(header) or 'nothing'}: write the names of the columns there, separated by"
                " commas. If they are others, name them with --config.data.columns=PATH,LABEL"
            )
        found.append([i for i, each in enumerate(header) if each == column])
    split = [i for i, each in enumerate(header) if each.lower() == "split"]
    for places in (*found, split):
        if len(places) > 1:
            raise UserError(
                f"config.data.source: the first line of {file} has the column {header[places[0]]} twice:"
                " remove or rename one of them"
            )
    return found[0][0], found[1][0], split[0] if split else None
