"""The source ``tfds:NAME[/CONFIG][:VERSION]``: a data set of TFDS in ``array_record`` or TFRecord files.

Preparing a data set needs TensorFlow, reading it does not. TFDS is imported on first use.
"""

import bisect
import contextlib
import dataclasses
import functools
import importlib.util
import itertools
import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alexnet_jax import files
from alexnet_jax.data.source import Example, Source, Split
from alexnet_jax.errors import UserError, near
from alexnet_jax.remote.paths import on_disk
from alexnet_jax.text import first_of

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

SIZES = {"imagenet2012": (1_281_167, True), "cifar10": (50_000, False)}
"""Number of training examples, and whether a validation split exists, from tensorflow.org/datasets."""

_BY_HAND = {
    "imagenet2012": ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"),
}
"""Archives that TFDS can't download, because their owners require an account."""


_AGAIN = "copy the data set again, or remove it and run alexnet-jax prepare"


def open_tfds(name: str) -> Source:
    """Open a data set of images and labels that TFDS has prepared.

    Args:
      name: ``NAME[/CONFIG][:VERSION]``; without a version, the newest.

    Raises:
      UserError: TFDS does not know the data set or has not prepared it, it has no labelled images, or its
        files are missing or damaged.
    """
    path, root, directory = _find(name)
    if directory is None:
        raise UserError(_missing(name) or f"TFDS has not prepared {name} in {root}: run alexnet-jax prepare")
    with _explained(f"TFDS can't read {directory}"):
        return _opened(name, path, directory)


def _opened(name: str, path: str, directory: Path) -> Source:
    """Do the same as `open_tfds` for a directory."""
    info = _info(directory)
    image, label = _keys(info, name)
    if "train" not in info.splits:
        raise UserError(
            f"tfds:{name} has no train split, only {', '.join(info.splits)}: take another data set"
        )
    splits = {}
    for split_name in ("train", "validation", "test"):
        if split_name in info.splits:
            count = info.splits[split_name].num_examples
            _check_files(directory, info, split_name)
            split = Split(_Examples(str(directory), split_name, image, label), np.arange(count))
            if not count and split_name == "train":
                raise UserError(f"{directory} lists no images of train: {_AGAIN}")
            if count and split[0].label >= 0:  # TFDS gives ImageNet's test images, which are unlabelled, -1
                splits[split_name] = split
    left_out = {
        "splits that are not used, or whose images have no labels": [
            f"{split.name} ({split.num_examples:,} images)"
            for split in info.splits.values()
            if split.name not in splits
        ]
    }
    names = directory / f"{label}.labels.txt"
    notes = () if names.exists() else (f"the classes have numbers for names, because there is no {names}",)
    classes = tuple(info.features[label].names)
    return Source(f"tfds:{path}", str(info.version), classes, splits, left_out=left_out, notes=notes)


def _info(directory: Path) -> "tfds.core.DatasetInfo":
    """Return the description of a prepared data set."""
    import tensorflow_datasets as tfds

    for name in ("dataset_info.json", "features.json"):
        file = directory / name
        try:
            json.loads(file.read_bytes())
        except OSError as error:
            raise UserError(f"{file} can't be read ({error.strerror}): {_AGAIN}") from error
        except ValueError as error:
            raise UserError(f"{file} is damaged: {_AGAIN}") from error
    return tfds.builder_from_directory(directory).info


@contextlib.contextmanager
def _explained(problem: str) -> Iterator[None]:
    """Turn any exception of TFDS or of C++ into a `UserError`, unless the system is to blame."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:
        if files.failure(error):
            raise
        raise UserError(f"{problem} ({_first_line(error)}): {_AGAIN}") from error


def _check_files(directory: Path, info: "tfds.core.DatasetInfo", split: str) -> None:
    """Check that the files of a split exist and, in the format array_record, that they are complete.

    Raises:
      UserError: some are missing or damaged.
    """
    paths = [os.fspath(path) for path in info.splits[split].filepaths]
    missing = [path for path in paths if not os.path.isfile(path)]  # noqa: PTH113
    damaged = []
    if info.file_format.value == "array_record" and not missing:
        damaged = [
            path
            for path, count in zip(paths, info.splits[split].shard_lengths, strict=True)
            if _records(path) != count
        ]
    for those, problem in ((missing, "missing"), (damaged, "damaged")):
        if those:
            names = first_of([os.path.basename(file) for file in those])  # noqa: PTH119
            which = f"{len(those):,} of the {len(paths):,} files of {split} are {problem}"
            raise UserError(f"{directory}: {which} ({names}): {_AGAIN}")


def _records(path: str) -> int:
    """Return the number of records in a file, which takes a millisecond; -1 if it is damaged."""
    from array_record.python import array_record_module

    try:
        reader = array_record_module.ArrayRecordReader(path)
        count = reader.num_records()
        reader.close()
    except Exception:  # C++ raises many kinds
        return -1
    return count


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _keys(info: "tfds.core.DatasetInfo", name: str) -> tuple[str, str]:
    """Return the names of the features that hold the image and its class."""
    import tensorflow_datasets as tfds

    keys = info.supervised_keys or ("image", "label")
    if len(keys) == 2 and set(keys) <= set(info.features):
        image, label = (info.features[key] for key in keys)
        if isinstance(image, tfds.features.Image) and isinstance(label, tfds.features.ClassLabel):
            return keys
    raise UserError(
        f"tfds:{name} has the features {', '.join(info.features)}:"
        " take a data set with an image and a class label"
    )


@dataclasses.dataclass(frozen=True)
class _Examples:
    """A reader of the examples of a split by number. Each process opens the files itself."""

    directory: str
    split: str
    image: str
    label: str

    def __call__(self, i: int) -> Example:
        with _explained(f"{self.directory}: example {i} of {self.split} can't be read"):
            example = _open(self.directory, self.split, self.image)(i)
            name = example.get("file_name", f"{self.split} {i}")
            content, label = example[self.image], int(example[self.label])
            return Example(name.decode() if isinstance(name, bytes) else name, label, lambda: content)


@functools.cache
def _open(directory: str, split: str, image: str) -> Callable[[int], dict[str, Any]]:
    """Return a function that reads an example by number. Its image is the bytes of an image file."""
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(directory)
    encoded = {image: tfds.decode.SkipDecoding()}
    if builder.info.file_format.value == "array_record":
        # One reader stays open for each file, and there may be a thousand files.
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
        f"{directory} holds {builder.info.file_format.value} files: prepare it as array_record or tfrecord"
    )


class _TFRecords:
    """A reader of records by number.

    A record is a length (8 bytes), a checksum (4), the content, and a checksum (4).
    """

    def __init__(self, split: "tfds.core.SplitInfo") -> None:
        self._paths = [os.fspath(path) for path in split.filepaths]
        self._begins = [0, *itertools.accumulate(split.shard_lengths)]
        self._offsets: dict[int, list[int]] = {}  # by file; filled when the file is first read

    def __getitem__(self, i: int) -> bytes:
        number = bisect.bisect_right(self._begins, i) - 1
        with open(self._paths[number], "rb", buffering=0) as file:  # noqa: PTH123
            if number not in self._offsets:
                self._offsets[number] = _offsets(file.fileno(), self._paths[number])
            offset = self._offsets[number][i - self._begins[number]]
            return os.pread(file.fileno(), _length(file.fileno(), offset), offset + 12)


def _offsets(file: int, path: str) -> list[int]:
    """Return the byte at which each record begins."""
    offset, offsets, end = 0, [], os.fstat(file).st_size
    while offset < end:
        offsets.append(offset)
        offset += _length(file, offset) + 16
    if offset > end:
        raise UserError(f"{path} is truncated: {_AGAIN}")
    return offsets


def _length(file: int, offset: int) -> int:
    return int.from_bytes(os.pread(file, 8, offset), "little")


def _prepared(directory: Path, version: str) -> Path | None:
    """Return the directory of a prepared version, by default of the newest.

    Raises:
      UserError: the version was copied without its description.
    """

    def numbers(path: Path) -> tuple[int, ...]:
        return tuple(int(part) for part in path.name.split("."))

    found = [
        path
        for path in directory.glob("*.*.*/")
        if (not version or path.name == version) and re.fullmatch(r"\d+\.\d+\.\d+", path.name)
    ]
    newest = max(found, key=numbers, default=None)
    if newest is not None and not (newest / "dataset_info.json").exists():
        raise UserError(f"{newest} has no dataset_info.json: {_AGAIN}")
    return newest


def download(name: str, say: Callable[[str], None]) -> None:
    """Download and prepare a data set with TFDS, unless it is prepared already.

    TFDS runs in a separate process, because it imports TensorFlow. The command ``tfds build`` is not used: in
    TFDS 4.9.10 it needs Apache Beam even for data sets that do not.

    Args:
      name: as in `open_tfds`.
      say: function that takes a line for the user.

    Raises:
      UserError: something that TFDS needs is missing (checked before it writes anything), or TFDS failed.
    """
    _, root, directory = _find(name)
    if directory is not None:
        return
    if problem := _missing(name):
        raise UserError(problem)
    say(f"TFDS is preparing {name} in {root}")
    done = subprocess.run([sys.executable, "-P", "-c", _PREPARE, name, str(root)], check=False)
    if done.returncode:
        raise UserError(f"TFDS could not prepare {name}: see its messages above")


_PREPARE = """
import sys
import tensorflow as tf
import tensorflow_datasets as tfds
tf.config.set_visible_devices([], "GPU")
tfds.builder(sys.argv[1], data_dir=sys.argv[2], file_format="array_record").download_and_prepare()
"""


def _find(name: str) -> tuple[str, Path, Path | None]:
    """Return the name without a version, TFDS's folder, and the data set's directory if it is prepared."""
    import tensorflow_datasets as tfds

    path, _, version = name.partition(":")
    folder = os.environ.get("TFDS_DATA_DIR") or tfds.core.constants.DATA_DIR
    on_disk(folder, "TFDS_DATA_DIR", "copy the data set there")
    root = Path(folder).expanduser()
    return path, root, _prepared(root / path, version)


def _missing(name: str) -> str:
    """Return the reason why TFDS can't prepare a data set, or "" if it can. Write no files."""
    import tensorflow_datasets as tfds

    path, root, _ = _find(name)
    data_set = path.partition("/")[0]
    known = tfds.list_builders(with_community_datasets=False)
    if data_set not in known:
        return f"TFDS has no data set {data_set}{near(data_set, known)}"
    here = f"TFDS has not prepared {name} in {root}: set TFDS_DATA_DIR to the folder that holds it, or"
    by_hand = root / "downloads" / "manual"
    missing = [archive for archive in _BY_HAND.get(data_set, ()) if not (by_hand / archive).exists()]
    install = "pip install -e '.[tensorflow]'"
    again = "run the same command again"
    has_tensorflow = importlib.util.find_spec("tensorflow") is not None
    if missing:
        archives = f"put {' and '.join(missing)} (from image-net.org, with an account) into {by_hand}"
        return f"{here} {archives}{'' if has_tensorflow else f', {install}'}, and then {again}"
    return "" if has_tensorflow else f"{here} {install}, and then {again}"
