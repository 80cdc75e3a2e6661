"""Folders of images."""

import errno
import functools
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np

from alexnet_jax.data.images import SUFFIXES, BadImage
from alexnet_jax.data.sampler import permutation
from alexnet_jax.data.source import Example, Source, Split
from alexnet_jax.errors import UserError

USUAL_TEST = 0.1
"""The default of ``config.data.test``, with which a folder without splits is split 80/10/10."""

_SPLITS = {"train": ("train",), "validation": ("val", "validation", "valid"), "test": ("test",)}


def open_folder(root: Path, test: float) -> Source:
    """A folder for each class, below ``train/``, ``val/`` and ``test/`` or, split by a seed, alone."""
    if not root.is_dir():
        raise UserError(f"{root} is no folder: --config.data.source=folder:DIR says where the images are")
    try:
        inside = {path.name.lower(): path for path in sorted(root.iterdir()) if path.is_dir()}
        found = {split: inside[name] for split, names in _SPLITS.items() for name in names if name in inside}
        if found and "train" not in found:
            raise UserError(f"config.data.source: {root} has {', '.join(found)}, but no train")
        listed = {split: _images_by_class(directory) for split, directory in found.items()}
        if not listed.get("test", True):  # ImageNet's own have no labels
            del listed["test"]
        whole = None if found else _images_by_class(root)
    except OSError as error:
        raise UserError(f"config.data.source: {error.filename} can't be read: {error.strerror}") from error
    by_class = listed["train"] if whole is None else whole
    class_names = tuple(sorted(by_class))
    if not by_class:
        raise UserError(
            f"config.data.source: {root} has no images: a folder for each class is wanted, in DIR/train,"
            f" DIR/val and DIR/test or in DIR, of {', '.join(sorted(SUFFIXES))}"
        )
    if len(class_names) < 2:
        raise UserError(
            f"config.data.source: {root} has images of one class, {class_names[0]}: nothing to learn"
        )
    for split, others in listed.items():
        if not others:
            raise UserError(
                f"config.data.source: {found[split]} has no folders of images, one for each class"
            )
        if strange := sorted(set(others) - set(class_names)):
            raise UserError(f"config.data.source: {found[split]} has {strange[0]}, which train has not")
    version, stamp = hashlib.sha256(), hashlib.sha256()

    def split_of(images_by_class: dict[str, list[ImageFile]]) -> Split:
        names, labels = [], []
        for label, class_name in enumerate(class_names):
            for name, size, changed in images_by_class.get(class_name, []):
                names.append(name)
                labels.append(label)
                version.update(os.fsencode(f"{os.path.relpath(name, root)} {size}\n"))
                stamp.update(f"{changed}\n".encode())
        return Split(functools.partial(_file, names, labels), np.arange(len(names)))

    if whole is None:
        splits = {name: split_of(images_by_class) for name, images_by_class in listed.items()}
    else:
        everything = split_of(whole)
        order = permutation(len(everything), seed=0)
        tenth = len(order) // 10 if test == USUAL_TEST else 0
        ends = tenth, tenth + int(test * len(order))
        parts = {"train": order[ends[1] :], "validation": order[: ends[0]], "test": order[ends[0] : ends[1]]}
        splits = {name: everything.subset(np.sort(rows)) for name, rows in parts.items() if len(rows)}
    return Source(version.hexdigest()[:12], class_names, splits, root, stamp.hexdigest())


ImageFile: TypeAlias = tuple[str, int, int]
"""Its path, its size in bytes, and when it was changed, in nanoseconds."""


def _images_by_class(directory: Path) -> dict[str, list[ImageFile]]:
    """For each folder in a folder the image files below it, in order; folders without any are none."""
    with os.scandir(directory) as entries:
        classes = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    found = {name: sorted(image_files(str(directory / name))) for name in classes}
    return {name: images for name, images in found.items() if images}


def image_files(directory: str, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[ImageFile]:
    """The files below a folder that are images by their names, but for hidden ones, in no order.

    Args:
      directory: the folder.
      above: folders that it is in, which a link may lead back to.
    """
    status = os.stat(directory)  # noqa: PTH116 (a million files)
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from image_files(entry.path, above | {here})
            elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:  # noqa: PTH122
                # A link to nothing is an image that can't be read, and is told with the others.
                file = entry.stat() if entry.is_file() else None
                yield entry.path, file.st_size if file else 0, file.st_mtime_ns if file else 0


# Of a file that is not there or not ours to read, for ever. All else may be a disk that will be back.
_NO_FILE = frozenset([errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP, errno.EISDIR, errno.ENAMETOOLONG])


def _file(names: list[str], labels: list[int], i: int) -> Example:
    def read() -> bytes:
        try:
            return Path(names[i]).read_bytes()
        except OSError as error:
            if error.errno not in _NO_FILE:
                raise
            raise BadImage(error.strerror or str(error)) from error

    return Example(names[i], labels[i], read)
