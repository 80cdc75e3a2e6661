"""The cache: every image once, uint8 of one size, raw or as JPEG, in files that load at memory speed.

    <cache_dir>/<source>-<settings>/
        data.json, mean_image.npy        what the set is, and the statistics of its training split
        train-00000.images ...           see `shards`
        train.labels.npy, train.offsets.npy
        manifest.json                    each file's bytes and checksum; the last to be written
        broken.txt                       images that could not be read, if there are any

It opens in no time at any size: sizes and the small files' checksums are compared at once, those of the
images where they are few, or when ``alexnet-jax prepare`` looks at all of them.
"""

import dataclasses
import hashlib
import io
import json
import os
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import platformdirs
from etils import epath
from ml_collections import ConfigDict

from alexnet_jax import files
from alexnet_jax.data.shards import Images
from alexnet_jax.data.sources import USUAL_TEST, absolute, open_source
from alexnet_jax.errors import UserError

FORMAT = 3  # of the files, and of the way from an image to its pixels; one of another is never opened
_ANEW = "alexnet-jax prepare --force makes it anew, with the --config and --config.data.* it was made with"
_FEW_FILES = 100_000  # in a folder that is compared with its cache whenever that is opened: half a second
_QUICK = 2**30  # bytes whose checksums are compared whenever a cache is opened: half a second


@dataclasses.dataclass(frozen=True)
class DataInfo:
    """What a run and a workdir know of a data set.

    Attributes:
      source: ``config.data.source``.
      version: of the data set.
      fingerprint: of the data set, its version, the settings and every byte of the images and labels.
      encoding: of the cache's images, ``raw`` or ``jpeg``.
      image_size: (height, width) in pixels.
      class_names: by label, as the data set calls them.
      class_words: by label, for people: what a WordNet id like n01440764 means.
      splits: number of examples of ``train``, ``validation`` (where there is one) and ``test``.
      color_covariance: 3x3, of RGB over all pixels of the training split, in squared grey levels.
      mean_image: float32 of shape (height, width, 3), in grey levels.
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

    def save(self, directory: os.PathLike[str]) -> None:
        """Writes ``data.json`` and ``mean_image.npy``."""
        fields = {k: v for k, v in vars(self).items() if k != "mean_image"}
        fields["color_covariance"] = self.color_covariance.tolist()
        path = epath.Path(directory)
        mean_image = io.BytesIO()
        np.save(mean_image, self.mean_image)
        files.write(path / "mean_image.npy", mean_image.getvalue())
        files.write_json(path / "data.json", fields)

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
                "class_words": tuple(fields["class_words"]),
                "color_covariance": np.array(fields["color_covariance"]),
                "mean_image": mean_image,
            }
        )


@dataclasses.dataclass(frozen=True)
class Cache:
    """An open cache: images and labels by split."""

    directory: Path
    info: DataInfo
    images: dict[str, Images]
    labels: dict[str, np.ndarray]


def cache_path(data: ConfigDict) -> Path:
    """Where the cache for ``config.data`` lies: settings that make other bytes make another name."""
    root = Path(files.absolute(data.cache_dir or platformdirs.user_cache_dir("alexnet-jax")))
    settings = [FORMAT, absolute(data.source), data.encoding, data.image_size, data.validation]
    if data.test != USUAL_TEST:  # a cache from before there was another
        settings.append(data.test)
    kind, _, rest = absolute(data.source).partition(":")
    name = f"{kind}-{Path(rest).name}" if kind == "folder" else data.source
    short = "".join(c if c.isalnum() or c in "._" else "-" for c in name)
    return root / f"{short}-{hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:10]}"


def open_cache(data: ConfigDict, say: Callable[[str], None]) -> Cache:
    """The cache for ``config.data``, prepared first if it is missing.

    Of several processes on a host one prepares it and the others wait.

    Args:
      data: ``config.data``.
      say: takes a line for the user.

    Raises:
      UserError: no such source, too many broken images, a damaged cache, no place to write.
    """
    path = cache_path(data)
    if not path.exists():
        from alexnet_jax.data.build import prepare

        prepare(path, data, say)
    cache = load(path)
    if data.source.startswith("folder:") and sum(cache.info.splits.values()) <= _FEW_FILES:
        check_source(cache.info, data)
    return cache


def check_source(info: DataInfo, data: ConfigDict) -> None:
    """Whether a cache is still of the source's newest version, where the source is there to be asked.

    Raises:
      UserError: it is of another.
    """
    try:
        version = open_source(data.source, data.validation, data.test).version
    except UserError:
        return
    if version != info.version:
        raise UserError(f"{data.source} is now {version}, the cache was made of {info.version}: {_ANEW}")


def class_count(data: ConfigDict) -> int:
    """How many classes the data of ``config.data`` has, before anything is prepared.

    Raises:
      UserError: no such source.
    """
    path = cache_path(data)
    if path.exists():
        return len(load(path).info.class_names)
    return len(open_source(data.source, data.validation, data.test).class_names)


def load(path: Path, whole: bool = False) -> Cache:
    """Opens a cache.

    Args:
      path: from `cache_path`.
      whole: whether to read all of it and compare every checksum.

    Raises:
      UserError: it is damaged; what is, by name.
    """
    try:
        manifest = json.loads((path / "manifest.json").read_text())
        _check(path, manifest, whole)
        info = DataInfo.load(path)
        images, labels = {}, {}
        for split, count in info.splits.items():
            offsets = np.load(path / f"{split}.offsets.npy")
            labels[split] = np.load(path / f"{split}.labels.npy")
            paths = [path / name for name in sorted(manifest) if _is_images(name, split)]
            images[split] = Images(paths, offsets, info.image_size[0], info.encoding)
            if len(labels[split]) != count:
                raise ValueError(f"{split} has {len(labels[split])} of {count} labels")
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        what = f"{Path(error.filename).name}: {error.strerror}" if isinstance(error, OSError) else error
        raise UserError(f"the cache {path} is damaged ({what}): {_ANEW}") from error
    return Cache(path, info, images, labels)


def _is_images(name: str, split: str = "") -> bool:
    return name.startswith(split) and name.endswith(".images")


def write_manifest(path: Path, images: dict[str, tuple[int, int]]) -> None:
    """Writes the bytes and the CRC-32 of every file of a cache.

    Args:
      path: where all of them are.
      images: of the files with images, which are known already.
    """
    others = [*path.glob("*.npy"), path / "data.json", *path.glob("broken.txt")]
    small = {file.name: (file.stat().st_size, _checksum(file)) for file in others}
    files.write(epath.Path(path / "manifest.json"), (json.dumps(images | small, indent=0) + "\n").encode())


def _check(path: Path, manifest: dict[str, tuple[int, int]], whole: bool) -> None:
    """Compares the files with what was written.

    Raises:
      ValueError: the first that differs.
    """
    for name, (size, _) in manifest.items():
        found = (path / name).stat().st_size
        if found != size:
            raise ValueError(f"{name} has {found:,} of {size:,} bytes")
    few = sum(size for name, (size, _) in manifest.items() if _is_images(name)) <= _QUICK
    names = [name for name in manifest if whole or few or not _is_images(name)]
    with ThreadPoolExecutor(8) as threads:
        checksums = threads.map(_checksum, [path / name for name in names])
        for name, checksum in zip(names, checksums, strict=True):
            if checksum != manifest[name][1]:
                raise ValueError(f"{name} holds other bytes than were written")


def _checksum(path: Path) -> int:
    checksum, chunk = 0, memoryview(bytearray(2**20))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(chunk):
            checksum = zlib.crc32(chunk[:count], checksum)
    return checksum
