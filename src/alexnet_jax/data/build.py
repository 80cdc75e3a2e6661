"""Build a cache with several processes, in a temporary directory that is renamed when the cache is complete.

Only one process at a time holds the lock of a cache. If it is killed, the next one keeps the shards that are
complete and writes the others. The bytes do not depend on interruptions or on the number of processes.
"""

import dataclasses
import errno
import hashlib
import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from alexnet_jax import files, schema
from alexnet_jax.data.arrays import content_of
from alexnet_jax.data.build_pool import write_shards
from alexnet_jax.data.cache import FORMAT, DataInfo, write_manifest
from alexnet_jax.data.class_words import without_words, words_of
from alexnet_jax.data.shards import Shard, Work
from alexnet_jax.data.source import Source, left_out_lines, missing_class_lines
from alexnet_jax.data.sources import download, open_source
from alexnet_jax.errors import RunError, UserError
from alexnet_jax.files import locked
from alexnet_jax.text import first_of


def build(path: Path, data: ConfigDict, say: Callable[[str], None], force: bool = False) -> None:
    """Build the cache at ``path`` unless it exists, and delete what a killed build has left beside it.

    Args:
      path: directory from `dataset.cache_path`.
      data: ``config.data``.
      say: function that takes a line for the user.
      force: whether to rebuild a cache that exists.

    Raises:
      UserError: the source does not exist, the cache can't be written, or more images are broken than
        ``config.data.max_broken`` allows. Shards that are complete are kept for the next call.
      RunError: a worker process was killed.
    """
    left = [beside(path, name) for name in ("old", "building", "parts")]  # by a process that was killed
    if path.exists() and not force and not any(directory.exists() for directory in left):
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(
            beside(path, "lock"), lambda: say(f"another process is preparing {path}: waiting for it")
        ):
            if force or not path.exists():
                for directory in left:
                    files.refuse_link(directory)
                    files.check_inside(directory)
                _build(path, data, say)
            for directory in left:
                shutil.rmtree(directory, ignore_errors=True)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            raise RunError(
                f"the cache {path} can't be written ({error.strerror}): run the same command again to"
                " continue"
            ) from error
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = "free some space there and run the same command again to continue, or " if full else ""
        raise UserError(
            f"the cache {path} can't be written ({error.strerror or error}):"
            f" {advice}take another --config.data.cache_dir"
        ) from error


def beside(path: Path, name: str) -> Path:
    """Return the path of a file or directory that belongs to the cache at ``path``."""
    return path.with_name(f"{path.name}.{name}")


def _build(path: Path, data: ConfigDict, say: Callable[[str], None]) -> None:
    download(data.source, path.parent, say)
    try:
        source = open_source(data.source, data.validation, data.test, data.columns)
    except OSError as error:
        raise RunError(f"{data.source} can't be read ({files.explained(error)})") from error
    building, parts = beside(path, "building"), beside(path, "parts")
    identity = _identity(source, data)
    if _read_identity(parts) != [identity, source.stamp]:  # there are none, or the images have changed
        for directory in (building, parts):
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir()
        files.write(parts / "identity.json", json.dumps([identity, source.stamp]).encode())
    building.mkdir(exist_ok=True)  # missing if it became a cache that was then removed
    for half_written in building.glob("*.writing"):
        half_written.unlink()
    say(f"preparing {data.source} {source.version} in {path}")
    for line in source.report():
        say(line)
    source = dataclasses.replace(source, left_out={})  # the worker processes do not need it
    work = Work(source, building, parts, data.image_size, data.resize, data.encoding)
    write_shards(work, data.max_broken, say)
    _finish(work, data, identity, say)
    into_place(building, path)


def into_place(complete: Path, path: Path) -> None:
    """Give a complete cache its name. A cache that has the name is renamed to ``path.old`` first."""
    if path.exists():
        shutil.rmtree(beside(path, "old"), ignore_errors=True)
        path.rename(beside(path, "old"))
    complete.rename(path)
    files.sync_directory(path.parent)


def _identity(source: Source, data: ConfigDict) -> dict[str, object]:
    """Return what determines the bytes of a cache. A folder is identified by its content, not by its path."""
    return {
        "format": FORMAT,
        "source": source.name,
        "version": source.version,
        "encoding": data.encoding,
        "image_size": data.image_size,
        "class_names": list(source.class_names),
        "splits": {name: len(split) for name, split in source.splits.items()},
    }


def _read_identity(parts: Path) -> object:
    """Return the identity of the cache that these parts belong to, or None."""
    try:
        return schema.parse(files.read(parts / "identity.json", schema.LARGEST))
    except (OSError, ValueError):
        return None


def _finish(work: Work, data: ConfigDict, identity: dict[str, object], say: Callable[[str], None]) -> None:
    """Combine the results of the shards into the files of a cache."""
    building, size = work.building, work.image_size
    found: dict[str, list[Shard]] = {name: [] for name in work.source.splits}
    manifest = {}
    for part in work.parts():
        shard = work.written(part)
        if shard is None:
            raise RunError(
                f"{part.images_name} was changed during the build: run the same command again to continue"
            )
        found[part.split].append(shard)
        manifest[part.images_name] = (int(shard.sizes.sum()), shard.checksum)
    everything = [shard for of_split in found.values() for shard in of_split]
    labels = {
        split: np.concatenate([shard.labels for shard in of_split]) for split, of_split in found.items()
    }
    for split, of_split in found.items():
        if not len(labels[split]):
            raise UserError(
                f"none of the images of {split} can be read: see {building / 'broken.txt'} for the reasons"
            )
        files.write(building / f"{split}.labels.npy", content_of(labels[split]))
        sizes = np.concatenate([shard.sizes for shard in of_split])
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        files.write(building / f"{split}.offsets.npy", content_of(offsets))
    images = sum(len(shard.labels) for shard in found["train"])
    total, products = found["train"][0].sum_image, found["train"][0].products
    for shard in found["train"][1:]:
        total, products = total + shard.sum_image, products + shard.products
    mean = total / images
    color = mean.mean(axis=(0, 1))
    labels_checksums = [zlib.crc32(shard.labels.tobytes()) for shard in everything]
    what = {key: value for key, value in identity.items() if key not in ("source", "version")}
    contents = json.dumps([what, sorted(manifest.items()), labels_checksums])
    class_words = words_of(work.source.class_names, work.source.folder)
    info = DataInfo(
        source=data.source,
        version=work.source.version,
        fingerprint=hashlib.sha256(contents.encode()).hexdigest()[:16],
        encoding=work.encoding,
        image_size=(size, size),
        class_names=work.source.class_names,
        class_words=class_words,
        splits={name: sum(len(shard.labels) for shard in of_split) for name, of_split in found.items()},
        color_covariance=products / (images * size**2) - np.outer(color, color),
        mean_image=mean.astype(np.float32),
    )
    info.save(building)
    broken = sorted(line for shard in everything for line in shard.broken)
    enlarged = sum(shard.enlarged for shard in everything)
    reported = missing_class_lines(work.source.labels(), work.source.class_names)
    for line in missing_class_lines(labels, work.source.class_names):
        if line not in reported:
            say(line)
    if unknown := without_words(work.source.class_names, class_words):
        say(f"no list of words names {len(unknown):,} of the classes: {first_of(unknown)}")
    for line in left_out_lines({"images that can't be read, which broken.txt in the cache lists": broken}):
        say(line)
    if enlarged:
        say(f"{enlarged:,} images are smaller than {size}x{size}, and were enlarged")
    write_manifest(building, manifest)
