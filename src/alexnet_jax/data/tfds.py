"""Data sets that TFDS has prepared, as ``array_record`` or as TFRecords, read without TensorFlow."""

import bisect
import contextlib
import dataclasses
import functools
import importlib.util
import itertools
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from alexnet_jax.data.source import Example, Source, Split
from alexnet_jax.errors import UserError, near

_BY_HAND = {
    "imagenet2012": ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"),
}
"""Archives that TFDS can't download: their owners want an account."""


def open_tfds(name: str) -> Source:
    """A data set of images and labels, ``NAME[/CONFIG][:VERSION]``; without a version the newest.

    Raises:
      UserError: TFDS does not know it, or has not prepared it, or it has no images with labels.
    """
    _, root, directory = _find(name)
    if directory is None:
        raise UserError(
            _missing(name) or f"TFDS has not prepared {name} in {root}: alexnet-jax prepare does it"
        )
    info = tfds.builder_from_directory(directory).info
    image, label = _keys(info, name)
    if "train" not in info.splits:
        raise UserError(f"tfds:{name} has no train split, only {', '.join(info.splits)}")
    splits = {}
    for split_name in ("train", "validation", "test"):
        if split_name in info.splits:
            count = info.splits[split_name].num_examples
            split = Split(_Examples(str(directory), split_name, image, label), np.arange(count))
            if split[0].label >= 0:  # ImageNet's test images have none: its label is -1
                splits[split_name] = split
    return Source(str(info.version), tuple(info.features[label].names), splits)


def _keys(info: tfds.core.DatasetInfo, name: str) -> tuple[str, str]:
    """The names of the features that hold the image and its class."""
    keys = info.supervised_keys or ("image", "label")
    if len(keys) == 2 and set(keys) <= set(info.features):
        image, label = (info.features[key] for key in keys)
        if isinstance(image, tfds.features.Image) and isinstance(label, tfds.features.ClassLabel):
            return keys
    raise UserError(f"tfds:{name} has {', '.join(info.features)}, but an image and a class label are needed")


@dataclasses.dataclass(frozen=True)
class _Examples:
    """The examples of a split by number; opened anew in each process."""

    directory: str
    split: str
    image: str
    label: str

    def __call__(self, i: int) -> Example:
        example = _open(self.directory, self.split, self.image)(i)
        name = example.get("file_name", f"{self.split} {i}")
        content = example[self.image]
        return Example(
            name.decode() if isinstance(name, bytes) else name, int(example[self.label]), lambda: content
        )


@functools.cache
def _open(directory: str, split: str, image: str) -> Callable[[int], dict[str, Any]]:
    """Reads the example of a number, its image as the bytes of an image file."""
    builder = tfds.builder_from_directory(directory)
    encoded = {image: tfds.decode.SkipDecoding()}
    if builder.info.file_format.value == "array_record":
        # Its readers stay open, one for each of what may be a thousand files.
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        source = builder.as_data_source(split=split, decoders=encoded)
        return lambda i: source[i]
    if builder.info.file_format.value == "tfrecord":
        records = _TFRecords(builder.info.splits[split])
        features = builder.info.features
        return lambda i: features.deserialize_example_np(records[i], decoders=encoded)
    raise UserError(
        f"{directory} holds {builder.info.file_format.value} files:"
        " array_record and tfrecord are those that can be read"
    )


class _TFRecords:
    """Records by number. Each is its length (8 bytes), a checksum (4), the content, and a checksum (4)."""

    def __init__(self, split: tfds.core.SplitInfo) -> None:
        self._paths = [os.fspath(path) for path in split.filepaths]
        self._begins = [0, *itertools.accumulate(split.shard_lengths)]
        self._places: dict[int, list[int]] = {}  # by file, when it is first read

    def __getitem__(self, i: int) -> bytes:
        number = bisect.bisect_right(self._begins, i) - 1
        with open(self._paths[number], "rb", buffering=0) as file:  # noqa: PTH123
            if number not in self._places:
                self._places[number] = _places(file.fileno(), self._paths[number])
            place = self._places[number][i - self._begins[number]]
            return os.pread(file.fileno(), _length(file.fileno(), place), place + 12)


def _places(file: int, path: str) -> list[int]:
    """Where each record begins."""
    place, places, end = 0, [], os.fstat(file).st_size
    while place < end:
        places.append(place)
        place += _length(file, place) + 16
    if place > end:
        raise UserError(f"{path} was cut off: have TFDS prepare it anew")
    return places


def _length(file: int, place: int) -> int:
    return int.from_bytes(os.pread(file, 8, place), "little")


def _prepared(directory: Path, version: str) -> Path | None:
    """The newest prepared version, or the one that is asked for."""

    def numbers(path: Path) -> tuple[int, ...]:
        return tuple(int(part) for part in path.name.split("."))

    found = [
        info.parent
        for info in directory.glob("*.*.*/dataset_info.json")
        if (not version or info.parent.name == version) and re.fullmatch(r"[\d.]+", info.parent.name)
    ]
    return max(found, key=numbers, default=None)


def prepare_tfds(name: str, say: Callable[[str], None]) -> None:
    """Has TFDS download and prepare a data set that it has not prepared yet.

    In a process of its own, for TensorFlow is in it. (Not by the command ``tfds build``, which in TFDS 4.9.10
    wants Apache Beam before it does anything.)

    Args:
      name: as in `open_tfds`.
      say: takes a line for the user.

    Raises:
      UserError: what is missing, before TFDS writes anything; or it could not be done.
    """
    _, root, directory = _find(name)
    if directory is not None:
        return
    if problem := _missing(name):
        raise UserError(problem)
    say(f"TFDS prepares {name} in {root}")
    done = subprocess.run([sys.executable, "-c", _PREPARE, name, str(root)], check=False)
    if done.returncode:
        raise UserError(f"TFDS could not prepare {name}: its own lines, above, say why")


_PREPARE = """
import sys
import tensorflow as tf
import tensorflow_datasets as tfds
tf.config.set_visible_devices([], "GPU")
tfds.builder(sys.argv[1], data_dir=sys.argv[2], file_format="array_record").download_and_prepare()
"""


def _find(name: str) -> tuple[str, Path, Path | None]:
    """Its name without a version, TFDS's folder, and where it is prepared, if it is."""
    path, _, version = name.partition(":")
    root = Path(os.environ.get("TFDS_DATA_DIR") or tfds.core.constants.DATA_DIR).expanduser()
    return path, root, _prepared(root / path, version)


def _missing(name: str) -> str:
    """What TFDS needs to prepare a data set and has not; nothing is written where it looks."""
    path, root, _ = _find(name)
    data_set = path.partition("/")[0]
    known = tfds.list_builders(with_community_datasets=False)
    if data_set not in known:
        return f"TFDS has no data set {data_set}{near(data_set, known)}"
    here = f"TFDS has not prepared {name} in {root}: set TFDS_DATA_DIR to where it is, or"
    by_hand = root / "downloads" / "manual"
    missing = [archive for archive in _BY_HAND.get(data_set, ()) if not (by_hand / archive).exists()]
    install = "pip install -e '.[tensorflow]'"
    again = "the same command again"
    has_tensorflow = importlib.util.find_spec("tensorflow") is not None
    if missing:
        archives = f"put {' and '.join(missing)} (from image-net.org, with an account) into {by_hand}"
        return f"{here} {archives}{'' if has_tensorflow else f', {install}'}, and then {again}"
    return "" if has_tensorflow else f"{here} {install}, and then {again}"
