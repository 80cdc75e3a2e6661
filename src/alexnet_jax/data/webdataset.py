"""The source ``webdataset:PATTERN``: tar archives (shards) of images and labels, as WebDataset writes them.

A sample is a run of members whose names are the same up to the first dot of their last part: ``000123.jpg``
with ``000123.cls`` or ``000123.json``. Images are read from where they lie in the archives.
"""

import itertools
import json
import os
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np

from alexnet_jax.data import tars
from alexnet_jax.data.images import SUFFIXES, missing_decoder
from alexnet_jax.data.listed import LABEL_NAMES, NO_LABEL, chosen, classes_of, splits_of, stamp, version
from alexnet_jax.data.source import Options, Source
from alexnet_jax.data.split_files import split_files
from alexnet_jax.errors import UserError

_LONGEST = 10**6  # bytes of a label

_Sample: TypeAlias = dict[str, tuple[int, int]]
"""The offset and the size of each member of a sample, by its ending, such as ``jpg``."""


def open_webdataset(pattern: str, options: Options) -> Source:
    """Open shards, whose names contain their splits.

    Args:
      pattern: as in `split_files`.
      options: ``columns`` are the ending of the image, and the ending or the JSON key of the label.

    Raises:
      UserError: a shard is missing or damaged, or the image or the label of a sample is ambiguous.
    """
    shards = [(split, path) for split, paths in split_files(pattern, ".tar").items() for path in paths]
    image_wanted, label_wanted = options.columns or (None, None)
    left_out: dict[str, list[str]] = defaultdict(list)
    names: list[str] = []
    labels: list[str] = []
    places: list[tuple[int, int, int]] = []
    for number, (_, path) in enumerate(shards):
        with tars.open_archive(path) as file:
            for name, sample in _samples(file.name, tars.members(file), left_out):
                where = f"{path}: {name}"
                endings = [ending for ending in sample if f".{ending}" in SUFFIXES]
                image = chosen(endings, image_wanted, where, "image")
                if image is None:
                    left_out["samples without an image"].append(where)
                    continue
                if reason := missing_decoder(f".{image}"):
                    left_out[reason].append(f"{where}.{image}")
                    continue
                label = _label(file.fileno(), sample, label_wanted, where)
                if label in ("", "-1"):
                    left_out[NO_LABEL].append(f"{where}.{image}")
                names.append(f"{name}.{image}")
                labels.append(label)
                places.append((number, *sample[image]))
    class_names, numbers = classes_of(labels, pattern)
    archives, offsets, sizes = np.array(places, np.int64).reshape(-1, 3).T
    read = tars.Images([str(path) for _, path in shards], names, numbers, archives, offsets, sizes)
    rows = {
        split: np.flatnonzero(np.isin(archives, [i for i, (other, _) in enumerate(shards) if other == split]))
        for split in dict.fromkeys(split for split, _ in shards)
    }
    splits, notes = splits_of(read, numbers, rows, class_names, options, pattern, left_out)
    lines = (f"{shards[i][0]} {name} {x}" for i, name, x in zip(archives, names, labels, strict=True))
    changes, times = version(lines, sizes), stamp(path.stat() for _, path in shards)
    return Source("webdataset", changes, class_names, splits, None, times, left_out, notes)


def _samples(
    archive: str, members: Iterable[tarfile.TarInfo], left_out: dict[str, list[str]]
) -> Iterator[tuple[str, _Sample]]:
    """Yield the name and the members of each sample."""

    def parts() -> Iterator[tuple[str, str, tuple[int, int]]]:
        for member in members:
            folder, slash, last = member.name.rpartition("/")
            stem, _, ending = last.partition(".")
            if member.isdir():
                continue
            reason = tars.problem(member)
            if reason is None and not (stem and ending):
                reason = "members of archives that belong to no sample: their names are not NAME.ENDING"
            if reason is None:
                yield f"{folder}{slash}{stem}", ending.lower(), (member.offset_data, member.size)
            else:
                left_out[reason].append(f"{archive}: {member.name}")

    for name, group in itertools.groupby(parts(), key=lambda part: part[0]):
        sample: _Sample = {}
        for _, ending, place in group:
            if ending in sample:
                raise UserError(
                    f"config.data.source: {archive}: {name}.{ending} is there twice: remove one of them"
                )
            sample[ending] = place
        yield name, sample


def _label(file: int, sample: _Sample, wanted: str | None, where: str) -> str:
    """Return the label of a sample as text, empty if there is none."""
    ending = wanted or "cls"
    if ending in sample:
        return _text(file, sample[ending], where).strip()
    if "json" not in sample:
        return ""
    try:
        fields = json.loads(_text(file, sample["json"], where))
    except (ValueError, RecursionError) as error:
        raise UserError(f"config.data.source: {where}.json can't be read as JSON: {error}") from error
    if not isinstance(fields, dict):
        raise UserError(f"config.data.source: {where}.json must hold an object with the label")
    key = chosen([name for name in fields if name in LABEL_NAMES], wanted, where, "label", fields)
    label: Any = "" if key is None or fields[key] is None else fields[key]
    if isinstance(label, bool) or not isinstance(label, str | int):
        raise UserError(
            f"config.data.source: {where}.json has the label {label!r}, but it must be a word or an integer"
        )
    return str(label)


def _text(file: int, place: tuple[int, int], where: str) -> str:
    offset, size = place
    try:
        return os.pread(file, min(size, _LONGEST), offset).decode()
    except UnicodeDecodeError as error:
        raise UserError(f"config.data.source: the label of {where} is not text in UTF-8") from error
