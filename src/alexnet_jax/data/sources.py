"""The registry of sources: everything that depends on the prefix of ``config.data.source``.

To add a kind of source, write a module next to `folder` and add an entry to `KINDS`. No other module tests
the prefix.
"""

import dataclasses
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeAlias

import numpy as np

from alexnet_jax.data import csv_list, digits, folder, ilsvrc2012, parquet, split_files, tfds, webdataset
from alexnet_jax.data.sampler import permutation
from alexnet_jax.data.source import Options, Source, with_every_class
from alexnet_jax.errors import UserError
from alexnet_jax.files import locked

Say: TypeAlias = Callable[[str], None]
"""A function that takes a line for the user."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of source. Its functions take the name without the prefix.

    Attributes:
      form: text for messages that shows how to write such a source.
      open: function that opens the source. Most kinds leave ``validation`` of the options to `open_source`.
      identity: function that returns the name that identifies the source from any working directory.
      short_name: function that returns a short name, which becomes part of the name of the cache.
      download: function that does everything that must precede `open`; None if nothing must.
      known_sizes: function that returns the number of training examples and whether a validation split
        exists, or None if this is unknown before the data set is prepared.
      held_out: fraction of the training split that becomes the validation split if the data set has none and
        ``config.data.validation`` is not set.
      may_change: whether the images may change under the same name. If so, they are compared with the cache
        whenever it is opened.
      columns: whether ``config.data.columns`` may choose the image and the label.
      names: the only names that exist; None if any name may exist.
    """

    form: str
    open: Callable[[str, Options], Source]
    identity: Callable[[str], str] = lambda name: name
    short_name: Callable[[str], str] = lambda name: name
    download: Callable[[str, Say], None] | None = None
    known_sizes: Callable[[str], tuple[int, bool] | None] = lambda name: None
    held_out: float = 0.0
    may_change: bool = False
    columns: bool = False
    names: Collection[str] | None = None


KINDS = {
    "tfds": Kind(
        "tfds:NAME",
        lambda name, options: _with_test(tfds.open_tfds(name), options.test),
        download=tfds.download,
        known_sizes=tfds.SIZES.get,
    ),
    "folder": Kind(
        "folder:DIR",
        lambda path, options: folder.open_folder(path, options.validation, options.test),
        identity=folder.identity,
        short_name=folder.name_of,
        held_out=0.1,
        may_change=True,
    ),
    "ilsvrc2012": Kind(
        "ilsvrc2012:DIR",
        lambda path, _: ilsvrc2012.open_ilsvrc2012(path),
        identity=folder.identity,
        short_name=folder.name_of,
        known_sizes=lambda _: ilsvrc2012.SIZES,
        held_out=0.1,
        may_change=True,
    ),
    "parquet": Kind(
        "parquet:PATH",
        parquet.open_parquet,
        identity=split_files.identity,
        short_name=split_files.name_of,
        held_out=0.1,
        may_change=True,
        columns=True,
    ),
    "webdataset": Kind(
        "webdataset:PATTERN",
        webdataset.open_webdataset,
        identity=split_files.identity,
        short_name=split_files.name_of,
        held_out=0.1,
        may_change=True,
        columns=True,
    ),
    "csv": Kind(
        "csv:FILE",
        csv_list.open_csv,
        identity=folder.identity,
        short_name=folder.name_of,
        held_out=0.1,
        may_change=True,
        columns=True,
    ),
    "sklearn": Kind("sklearn:digits", lambda *_: digits.open_digits(), names=("digits",)),
}


def open_source(name: str, validation: float | None, test: float, columns: str | None = None) -> Source:
    """Open a source, and split off a validation or a test split if it lacks one.

    The images are read only to build the cache. A source can be pickled, because several processes read it.

    Args:
      name: ``config.data.source``.
      validation: ``config.data.validation``: number of training examples that become the validation split if
        the data set has none; a fraction if below 1. None means no examples for TFDS and scikit-learn, and a
        tenth for other data sets.
      test: ``config.data.test``: fraction of the examples that becomes the test split if the data set has no
        splits (a folder) or only a training split (TFDS).
      columns: ``config.data.columns``: names of the image and the label, if several may hold them.

    Raises:
      UserError: the source does not exist, is not prepared or is damaged, has no classes of images, or does
        not use ``columns``.
    """
    prefix, kind, rest = _parse(name)
    if columns and not kind.columns:
        using = ", ".join(each for each, other in KINDS.items() if other.columns)
        raise UserError(
            f"config.data.columns is {columns!r}, but {prefix} has no columns to choose from, only {using}:"
            " remove the setting"
        )
    image, _, label = (columns or "").partition(",")
    named = (image.strip(), label.strip()) if columns else None
    source = kind.open(rest, Options(validation, test, named))
    train = source.splits["train"]
    count = _held_out(kind, validation, len(train))
    if "validation" not in source.splits and count:
        if count >= len(train):
            raise UserError(
                f"config.data.validation is {validation}, but {name} has only {len(train)} training examples:"
                " set a smaller number"
            )
        rows = permutation(len(train), seed=0)  # the last rows of a shuffle that never changes
        # In order, because the files of most sources are read from start to end.
        parts = {"train": np.sort(rows[:-count]), "validation": np.sort(rows[-count:])}
        held_out, notes = with_every_class({name: train.subset(part) for name, part in parts.items()})
        source = dataclasses.replace(source, splits=source.splits | held_out, notes=source.notes + notes)
    splits = {name: split for name, split in source.splits.items() if len(split)}
    return dataclasses.replace(source, splits=splits)


def download(name: str, directory: Path, say: Say) -> None:
    """Download a source, or do whatever else must be done once before it can be opened.

    Args:
      name: ``config.data.source``.
      directory: directory of the lock, which lets only one process do this.
      say: function that takes a line for the user.

    Raises:
      UserError: the source does not exist, or can't be downloaded.
    """
    prefix, kind, rest = _parse(name)
    if kind.download is not None:
        busy = f"another process is preparing a {prefix} data set: waiting for it"
        with locked(directory / f"{prefix}.lock", lambda: say(busy)):
            kind.download(rest, say)


def identity(name: str) -> str:
    """Return the name that identifies a source from any working directory."""
    if (found := _find(name)) is None:
        return name
    prefix, kind, rest = found
    return f"{prefix}:{kind.identity(rest)}"


def short_name(name: str) -> str:
    """Return a short name of a source, for people to read."""
    if (found := _find(name)) is None:
        return name
    prefix, kind, rest = found
    return f"{prefix}:{kind.short_name(rest)}"


def may_change(name: str) -> bool:
    """Return whether the images of a source may change under the same name."""
    found = _find(name)
    return found is not None and found[1].may_change


def known_examples(name: str, validation: float | None) -> int | None:
    """Return the size of a source's training split without opening the source; None if it is unknown.

    Args:
      name: ``config.data.source``.
      validation: ``config.data.validation``.
    """
    found = _find(name)
    if found is None or (sizes := found[1].known_sizes(found[2])) is None:
        return None
    examples, has_validation = sizes
    return examples if has_validation else examples - _held_out(found[1], validation, examples)


def _find(name: str) -> tuple[str, Kind, str] | None:
    """Return the prefix, the kind and the rest of a source's name, or None if there is no such source."""
    prefix, _, rest = name.partition(":")
    kind = KINDS.get(prefix)
    if kind is None or not rest or (kind.names is not None and rest not in kind.names):
        return None
    return prefix, kind, rest


def _parse(name: str) -> tuple[str, Kind, str]:
    if (found := _find(name)) is None:
        *others, last = (kind.form for kind in KINDS.values())
        raise UserError(f"config.data.source is {name!r}, but must be {', '.join(others)} or {last}")
    return found


def _held_out(kind: Kind, validation: float | None, examples: int) -> int:
    """Return how many training examples become the validation split."""
    part = kind.held_out if validation is None else validation
    return round(part * examples) if part < 1 else int(part)


def _with_test(source: Source, test: float) -> Source:
    """Split off a test split if a source has only a training split.

    Its examples are the first rows of a shuffle that never changes.
    """
    if list(source.splits) != ["train"]:
        return source
    train = source.splits["train"]
    rows = permutation(len(train), seed=1)
    count = int(test * len(rows))
    splits = {"train": train.subset(rows[count:]), "test": train.subset(rows[:count])}
    return dataclasses.replace(source, splits={name: split for name, split in splits.items() if len(split)})
