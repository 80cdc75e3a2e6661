"""The file format of the cache: every image once, uint8 of one size, raw or as JPEG.

    <cache_dir>/<source>-<settings>/
        data.json, mean_image.npy        the data set, and the statistics of its training split
        train-00000.images ...           the images, see `stored`
        train.offsets.npy                the position of each image, see `stored`
        train.labels.npy                 (examples,) int32
        manifest.json                    the size and checksum of each file; it is written last
        broken.txt                       images that could not be read, if there are any

Opening takes the same short time for a data set of any size. It always compares the sizes of all files and
the checksums of the small ones. It compares the checksums of the images only if they have few bytes, or if
``alexnet-jax prepare`` verifies the whole cache.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import stat
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypedDict

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from alexnet_jax import files, schema
from alexnet_jax.data import sources
from alexnet_jax.data.arrays import content_of, read_array
from alexnet_jax.data.stored import Images
from alexnet_jax.errors import RunError, UserError
from alexnet_jax.runtime import progress
from alexnet_jax.schema import Checksum, Count, FileName, Positive, Rule, Split

FORMAT = 3
"""Version of the files and of the conversion of images to pixels. Caches of other versions are not opened."""

REBUILD = "rebuild it with alexnet-jax prepare --force and the same --config and --config.data.* flags"
"""The advice at the end of a message about a cache that can't be used."""

_QUICK = 2**30  # bytes of images that are verified whenever a cache is opened, in half a second


class NoTestSplit(UserError):
    """Report a data set without images to test on."""


_Side: TypeAlias = Annotated[int, Rule("a number of pixels from 1 to 4096", lambda x: 0 < x <= 4096)]
_Row: TypeAlias = tuple[float, float, float]


class Described(TypedDict):
    """The content of ``data.json``: the fields of `DataInfo` without the mean image."""

    source: str
    version: str
    fingerprint: str
    encoding: Literal["raw", "jpeg"]
    image_size: tuple[_Side, _Side]
    class_names: tuple[str, ...]
    class_words: tuple[str, ...]
    splits: dict[Split, Positive]
    color_covariance: tuple[_Row, _Row, _Row]


Manifest: TypeAlias = dict[FileName, tuple[Count, Checksum]]
"""The content of ``manifest.json``: the size and the CRC-32 of each file of a cache."""


@dataclasses.dataclass(frozen=True)
class DataInfo:
    """A description of a data set, for runs and workdirs.

    Attributes:
      source: ``config.data.source``.
      version: version of the data set.
      fingerprint: hash of the settings, the classes and every byte of the images and labels; empty if these
        are not known, as for imported weights.
      encoding: encoding of the images in the cache, ``raw`` or ``jpeg``.
      image_size: (height, width) in pixels.
      class_names: names of the classes in the data set, by label.
      class_words: names of the classes for people, by label: words instead of a WordNet id such as n01440764.
      splits: number of examples in ``train``, ``validation`` (if it exists) and ``test`` (if it exists).
      color_covariance: covariance of RGB over all pixels of the training split, of shape (3, 3), in squared
        grey levels.
      mean_image: mean of the training split, float32 of shape (height, width, 3), in grey levels.
    """

    source: str
    version: str
    fingerprint: str
    encoding: str
    image_size: tuple[int, int]
    class_names: tuple[str, ...]
    class_words: tuple[str, ...]
    splits: dict[str, int]
    color_covariance: np.ndarray
    mean_image: np.ndarray

    def test_split(self, split: str | None = None) -> str:
        """Return the split to test on: the one named, or else test, or else validation.

        Raises:
          NoTestSplit: the data has neither, and no other split is named.
          UserError: the data has no such split.
        """
        if split is None:
            split = next((name for name in ("test", "validation") if name in self.splits), None)
        if split is None:
            raise NoTestSplit(
                f"{self.source} has only images for training: set config.data.validation to hold some out, or"
                " evaluate the split train"
            )
        if split not in self.splits:
            raise UserError(f"no split {split!r}: {self.source} has {', '.join(self.splits)}")
        return split

    def save(self, directory: os.PathLike[str]) -> dict[str, int]:
        """Write ``data.json`` and ``mean_image.npy``, and return the CRC-32 of each file."""
        fields = {k: v for k, v in vars(self).items() if k != "mean_image"}
        fields["color_covariance"] = self.color_covariance.tolist()
        contents = {
            "mean_image.npy": content_of(self.mean_image),
            "data.json": (json.dumps(fields, indent=1) + "\n").encode(),
        }
        for name, content in contents.items():
            files.write(epath.Path(directory) / name, content)
        return {name: zlib.crc32(content) for name, content in contents.items()}

    @classmethod
    def load(cls, directory: os.PathLike[str], checksums: Mapping[str, int]) -> "DataInfo":
        """Read what `save` wrote and compare the checksums that it returned.

        Raises:
          ValueError: a file is damaged. The message names it.
          OSError: a file can't be read.
        """
        path = epath.Path(directory)
        fields: dict[str, Any] = schema.read_json(path / "data.json", Described, checksums)
        if "train" not in fields["splits"]:
            raise ValueError("data.json: splits.train is missing")
        if len(fields["class_names"]) != len(fields["class_words"]) or not fields["class_names"]:
            raise ValueError("data.json: class_names and class_words must have the same length")
        mean_image = read_array(path / "mean_image.npy", np.float32, (*fields["image_size"], 3), checksums)
        covariance = np.array(fields["color_covariance"], np.float64)
        return cls(**fields | {"color_covariance": covariance, "mean_image": mean_image})


@dataclasses.dataclass(frozen=True)
class Cache:
    """An open cache: images and labels by split."""

    directory: Path
    info: DataInfo
    images: dict[str, Images]
    labels: dict[str, np.ndarray]


def cache_name(data: ConfigDict, identity: str | None = None) -> str:
    """Return the name of the directory of a cache, which depends on every setting that changes the bytes.

    Args:
      data: ``config.data``.
      identity: source from `sources.identity`; by default that of ``data.source``.
    """
    source = sources.identity(data.source) if identity is None else identity
    settings = [FORMAT, source, data.encoding, data.image_size, data.validation, data.test]
    settings += [data.columns] if data.columns is not None else []
    settings += [{"resize": data.resize}] if data.resize != "crop" else []
    name = sources.short_name(data.source)[:50]  # names of files have at most 255 bytes
    short = "".join(c if c.isalnum() or c in "._" else "-" for c in name)
    return f"{short}-{hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:10]}"


def load(path: Path, whole: bool = False) -> Cache:
    """Open a cache.

    Args:
      path: directory from `dataset.cache_path`.
      whole: whether to read all files and compare every checksum.

    Raises:
      UserError: the cache is damaged. The message names the damaged file.
    """
    with _damage_explained(path):
        manifest = _manifest(path)
        _check(path, manifest, whole)
        checksums = _checksums(manifest)
        info = DataInfo.load(path, checksums)
        images, labels = {}, {}
        for split, count in info.splits.items():
            labels[split] = read_array(path / f"{split}.labels.npy", np.int32, (count,), checksums)
            offsets = read_array(path / f"{split}.offsets.npy", np.int64, (count + 1,), checksums)
            names = [name for name in sorted(manifest) if _is_images(name, split)]
            _check_split(split, info, labels[split], offsets, sum(manifest[name][0] for name in names))
            images[split] = Images(
                [path / name for name in names], offsets, info.image_size[0], info.encoding
            )
    return Cache(path, info, images, labels)


def load_info(path: Path) -> DataInfo:
    """Return the description in a cache without opening its images.

    Args:
      path: directory from `dataset.cache_path`.

    Raises:
      UserError: the cache is damaged.
    """
    with _damage_explained(path):
        return DataInfo.load(path, _checksums(_manifest(path)))


def files_of(path: Path) -> dict[str, tuple[int, int]]:
    """Return the size and the CRC-32 of each file of a cache, the manifest included."""
    with _damage_explained(path):
        content = files.read(path / "manifest.json", schema.LARGEST)
        return _manifest(path) | {"manifest.json": (len(content), zlib.crc32(content))}


def write_manifest(path: Path, images: dict[str, tuple[int, int]]) -> None:
    """Write the size and the CRC-32 of every file of a cache.

    Args:
      path: directory of the cache.
      images: size and CRC-32 of each file of images, by name.
    """
    others = [*path.glob("*.npy"), path / "data.json", *path.glob("broken.txt")]
    small = {file.name: (file.stat().st_size, _checksum(file)) for file in others}
    files.write(path / "manifest.json", (json.dumps(images | small, indent=0) + "\n").encode())


@contextlib.contextmanager
def _damage_explained(path: Path) -> Iterator[None]:
    """Turn the exceptions of damaged files into a `UserError` that names the file.

    Raises:
      RunError: the system can't read a file that may be intact.
    """
    try:
        yield
    except (OSError, ValueError, MemoryError) as error:
        if reason := files.failure(error):
            raise RunError(
                f"the cache {path} can't be read ({reason}), and may be intact: remove the cause, and run the"
                " same command again"
            ) from error
        what = files.explained(error)
        raise UserError(f"the cache {path} is damaged ({what}): {REBUILD}") from error


def _is_images(name: str, split: str = "") -> bool:
    return name.startswith(split) and name.endswith(".images")


def _manifest(path: Path) -> dict[str, tuple[int, int]]:
    return schema.read_json(path / "manifest.json", Manifest)


def _checksums(manifest: dict[str, tuple[int, int]]) -> dict[str, int]:
    return {name: checksum for name, (_, checksum) in manifest.items()}


def _check_split(split: str, info: DataInfo, labels: np.ndarray, offsets: np.ndarray, size: int) -> None:
    """Check that each label is a class, and that the images fill ``size`` bytes without gaps.

    Raises:
      ValueError: they do not.
    """
    if not 0 <= labels.min() <= labels.max() < len(info.class_names):
        raise ValueError(f"{split}.labels.npy has a label that is not a class")
    sizes = np.diff(offsets)
    raw = info.encoding == "raw" and (sizes != 3 * math.prod(info.image_size)).any()
    if raw or offsets[0] != 0 or offsets[-1] != size or (sizes <= 0).any():
        raise ValueError(f"{split}.offsets.npy does not fit the images")


def _check(path: Path, manifest: dict[str, tuple[int, int]], whole: bool) -> None:
    """Compare the files with the manifest.

    Raises:
      ValueError: names the first file that differs.
    """
    for name, (size, _) in manifest.items():
        status = (path / name).stat()
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{name} is not a regular file")
        if status.st_size != size:
            raise ValueError(f"{name} has {status.st_size:,} of {size:,} bytes")
    few = sum(size for name, (size, _) in manifest.items() if _is_images(name)) <= _QUICK
    names = [name for name in manifest if whole or few or not _is_images(name)]
    with ThreadPoolExecutor(8) as threads:
        found = threads.map(_checksum, [path / name for name in names])
        with progress.bar(found, total=len(names), unit="file", description="verifying", show=whole) as bar:
            for name, checksum in zip(names, bar, strict=True):
                if checksum != manifest[name][1]:
                    raise ValueError(f"{name} has a wrong checksum")


def _checksum(path: Path) -> int:
    checksum, chunk = 0, memoryview(bytearray(2**20))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(chunk):
            checksum = zlib.crc32(chunk[:count], checksum)
    return checksum
