"""The cache: every image once, uint8 of one size, in files that are read at memory speed.

    <cache_dir>/<source>-<settings>/
        data.json, mean_image.npy              what the set is, and the statistics of its training split
        train.images.npy, train.labels.npy     (examples, size, size, 3) uint8, (examples,) int32
        validation..., test...

A cache is built in a directory of another name and renamed when it is whole, under a lock.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import io
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import platformdirs
from etils import epath
from ml_collections import ConfigDict

from alexnet_jax import files
from alexnet_jax.errors import UserError
from alexnet_jax.sources import Source, Split, open_source

_FORMAT = 1  # of the files; a cache of another format is never opened


@dataclasses.dataclass(frozen=True)
class DataInfo:
    """What a run and a workdir know of a data set.

    Attributes:
      source: ``config.data.source``.
      version: of the data set.
      fingerprint: of the settings, the version and every byte in the cache.
      image_size: (height, width) in pixels.
      class_names: by label.
      splits: number of examples of ``train``, ``validation`` (where there is one) and ``test``.
      color_covariance: 3x3, of RGB over all pixels of the training split, in squared grey levels.
      mean_image: float32 of shape (height, width, 3), in grey levels.
    """

    source: str
    version: str
    fingerprint: str
    image_size: tuple[int, int]
    class_names: tuple[str, ...]
    splits: dict[str, int]
    color_covariance: np.ndarray
    mean_image: np.ndarray

    def save(self, directory: os.PathLike[str]) -> None:
        """Writes ``data.json`` and ``mean_image.npy``."""
        fields = {k: v for k, v in vars(self).items() if k != "mean_image"}
        fields["color_covariance"] = self.color_covariance.tolist()
        path = epath.Path(directory)
        mean_image = io.BytesIO()
        np.save(mean_image, self.mean_image)
        files.write(path / "mean_image.npy", mean_image.getvalue())
        files.write(path / "data.json", (json.dumps(fields, indent=1) + "\n").encode())

    @classmethod
    def load(cls, directory: os.PathLike[str]) -> "DataInfo":
        """What `save` wrote."""
        path = epath.Path(directory)
        fields = json.loads((path / "data.json").read_text())
        with (path / "mean_image.npy").open("rb") as file:
            mean_image = np.load(file)
        return cls(
            **fields
            | {
                "image_size": tuple(fields["image_size"]),
                "class_names": tuple(fields["class_names"]),
                "color_covariance": np.array(fields["color_covariance"]),
                "mean_image": mean_image,
            }
        )


@dataclasses.dataclass(frozen=True)
class Cache:
    """An open cache: images and labels by split, mapped from the files."""

    directory: Path
    info: DataInfo
    images: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]


def cache_path(data: ConfigDict) -> Path:
    """Where the cache for ``config.data`` lies: settings that make other bytes make another name."""
    root = Path(data.cache_dir or platformdirs.user_cache_dir("alexnet-jax")).expanduser().absolute()
    settings = json.dumps([_FORMAT, data.source, data.encoding, data.image_size, data.validation])
    name = data.source.replace(":", "-").replace("/", "-")
    return root / f"{name}-{hashlib.sha256(settings.encode()).hexdigest()[:10]}"


def open_cache(data: ConfigDict, say: Callable[[str], None]) -> Cache:
    """The cache for ``config.data``, prepared first if it is missing.

    Of several processes on a host one prepares it and the others wait.

    Args:
      data: ``config.data``.
      say: takes a line for the user.

    Raises:
      UserError: no such source, images of another size, a damaged cache, no place to write.
    """
    path = cache_path(data)
    if not path.exists():
        try:
            with _locked(path.with_name(path.name + ".lock")):
                if not path.exists():
                    _prepare(path, data, say)
        except OSError as error:
            raise UserError(f"the cache {path} can't be made: {error}") from error
    return _open(path)


def _open(path: Path) -> Cache:
    try:
        info = DataInfo.load(path)
        images = {name: np.load(path / f"{name}.images.npy", mmap_mode="r") for name in info.splits}
        labels = {name: np.load(path / f"{name}.labels.npy") for name in info.splits}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"the cache {path} is damaged ({error}): remove it, and it is prepared anew"
        ) from error
    for name, count in info.splits.items():
        if images[name].shape != (count, *info.image_size, 3) or labels[name].shape != (count,):
            raise UserError(
                f"the cache {path} is damaged ({name} is not whole): remove it, and it is prepared anew"
            )
    return Cache(path, info, images, labels)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds an advisory lock, which the system takes back from a process that dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _prepare(path: Path, data: ConfigDict, say: Callable[[str], None]) -> None:
    """Builds the cache beside ``path`` and moves it there."""
    source = open_source(data.source, data.validation)
    counts = ", ".join(f"{name} {split.count}" for name, split in source.splits.items())
    say(f"preparing {data.source} {source.version} ({counts}) in {path}")
    building = path.with_name(path.name + ".building")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    try:
        _fill(building, path.name, source, data)
    except BaseException:
        shutil.rmtree(building)
        raise
    building.rename(path)


def _fill(building: Path, name: str, source: Source, data: ConfigDict) -> None:
    """Writes everything that a cache holds."""
    checksums = {}
    for split_name, split in source.splits.items():
        checksums[split_name] = _write_split(building, split_name, split, data.image_size)
    mean, covariance = _statistics(np.load(building / "train.images.npy", mmap_mode="r"))
    identity = [name, source.version, source.class_names, checksums]
    info = DataInfo(
        source=data.source,
        version=source.version,
        fingerprint=hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16],
        image_size=(data.image_size, data.image_size),
        class_names=source.class_names,
        splits={name: split.count for name, split in source.splits.items()},
        color_covariance=covariance,
        mean_image=mean,
    )
    info.save(building)
    for file in building.iterdir():  # a cache that has its name is whole, even after the power fails
        with file.open("rb+") as opened:
            os.fsync(opened)


def _write_split(directory: Path, name: str, split: Split, size: int) -> int:
    """Writes a split's images and labels; returns their checksum."""
    shape = (split.count, size, size, 3)
    labels = np.empty(split.count, np.int32)
    checksum = 0
    # Written, not mapped: on a full disk a write is an error, a page of a mapped file is the process's end.
    with (directory / f"{name}.images.npy").open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for i in range(split.count):
            image, labels[i] = split.read(i)
            if image.shape != shape[1:]:
                raise UserError(
                    f"config.data.image_size is {size}, but an image of {name} has the shape {image.shape}"
                )
            content = image.tobytes()
            file.write(content)
            checksum = zlib.crc32(content, checksum)
    np.save(directory / f"{name}.labels.npy", labels)
    return zlib.crc32(labels.tobytes(), checksum)


def _statistics(images_NxHxWx3: np.ndarray, chunk: int = 1024) -> tuple[np.ndarray, np.ndarray]:
    """The mean image, and the covariance of RGB over all pixels."""
    total = np.zeros(images_NxHxWx3.shape[1:], np.float64)
    products = np.zeros((3, 3), np.float64)
    for start in range(0, len(images_NxHxWx3), chunk):
        images = images_NxHxWx3[start : start + chunk].astype(np.float64)
        total += images.sum(axis=0)
        pixels = images.reshape(-1, 3)
        products += pixels.T @ pixels
    mean = total / len(images_NxHxWx3)
    color = mean.mean(axis=(0, 1))
    pixels_in_all = images_NxHxWx3.size // 3
    return mean.astype(np.float32), products / pixels_in_all - np.outer(color, color)
