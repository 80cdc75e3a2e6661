"""The source ``folder:DIR``: image files in one folder for each class."""

import errno
import functools
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np

from alexnet_jax import files
from alexnet_jax.data.images import SUFFIXES, BadImage
from alexnet_jax.data.sampler import permutation
from alexnet_jax.data.source import Example, Source, Split
from alexnet_jax.errors import UserError

ImageFile: TypeAlias = tuple[str, int, int]
"""The path of a file, its size in bytes, and its modification time in nanoseconds."""

_SPLITS = {"train": ("train",), "validation": ("val", "validation", "valid"), "test": ("test",)}
_NO_FILE = frozenset([errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP, errno.EISDIR, errno.ENAMETOOLONG])
"""Errors of a file that is missing or unreadable. Other errors may be temporary, as while a disk is away."""


def identity(path: str) -> str:
    """Return the path that identifies a folder from any working directory, with links resolved."""
    return str(Path(files.absolute(path)).resolve())


def name_of(path: str) -> str:
    """Return the name of a folder without its path."""
    return Path(identity(path)).name


def open_folder(path: str, validation: float | None, test: float) -> Source:
    """Open a folder that holds one folder of images for each class.

    The folders of the classes lie in ``train/``, ``val/`` and ``test/``. If there are no such folders, the
    classes lie in the folder itself, and their images are split by a fixed seed.

    Args:
      path: path of the folder.
      validation: ``config.data.validation``. If it is None, a tenth of a folder without splits becomes the
        validation split. If it is a number, the caller splits off the validation split.
      test: ``config.data.test``: fraction of a folder without splits that becomes the test split.

    Raises:
      UserError: it is not a folder, or has fewer than two classes of images.
    """
    root = Path(files.absolute(path))
    if not root.is_dir():
        raise UserError(
            f"{root} is not a folder: set --config.data.source=folder:DIR to the folder of the images"
        )
    try:
        inside = {entry.name.lower(): entry for entry in sorted(root.iterdir()) if entry.is_dir()}
        found = {split: inside[name] for split, names in _SPLITS.items() for name in names if name in inside}
        if found and "train" not in found:
            raise UserError(
                f"config.data.source: {root} has a folder for {', '.join(found)}, but none for training:"
                f" add {root}/train"
            )
        listed = {split: _images_by_class(directory) for split, directory in found.items()}
        if not listed.get("test", True):  # ImageNet's test images have no labels
            del listed["test"]
        whole = None if found else _images_by_class(root)
    except OSError as error:
        raise UserError(f"config.data.source: {error.filename} can't be read: {error.strerror}") from error
    by_class = listed["train"] if whole is None else whole
    class_names = tuple(sorted(by_class))
    if not by_class:
        raise UserError(
            f"config.data.source: {root} has no images: put a folder of images for each class into DIR/train,"
            f" DIR/val and DIR/test, or into DIR; image files end in {', '.join(sorted(SUFFIXES))}"
        )
    if len(class_names) < 2:
        raise UserError(
            f"config.data.source: {root} has images of only one class, {class_names[0]}: add another one"
        )
    for split, others in listed.items():
        if not others:
            raise UserError(
                f"config.data.source: {found[split]} has no folders of images: put one for each class into it"
            )
        if strange := sorted(set(others) - set(class_names)):
            raise UserError(
                f"config.data.source: {found[split]} has the class {strange[0]}, but train does not:"
                " add images of it to train, or remove it"
            )
    version, stamp = hashlib.sha256(), hashlib.sha256()

    def split_of(images_by_class: dict[str, list[ImageFile]]) -> Split:
        names, labels = [], []
        for label, class_name in enumerate(class_names):
            for name, size, changed in images_by_class.get(class_name, []):
                names.append(name)
                labels.append(label)
                version.update(os.fsencode(f"{os.path.relpath(name, root)} {size}\n"))
                stamp.update(f"{changed}\n".encode())
        return Split(functools.partial(_read, names, labels), np.arange(len(names)))

    if whole is None:
        splits = {name: split_of(images_by_class) for name, images_by_class in listed.items()}
    else:
        everything = split_of(whole)
        rows = permutation(len(everything), seed=0)
        tenth = len(rows) // 10 if validation is None else 0
        ends = tenth, tenth + int(test * len(rows))
        parts = {"train": rows[ends[1] :], "validation": rows[: ends[0]], "test": rows[ends[0] : ends[1]]}
        splits = {name: everything.subset(np.sort(part)) for name, part in parts.items() if len(part)}
    return Source("folder", version.hexdigest()[:12], class_names, splits, root, stamp.hexdigest())


def image_files(directory: str, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[ImageFile]:
    """Yield the files below a folder that have the suffix of an image, in any order, without hidden ones.

    Args:
      directory: the folder.
      above: the folders that contain it, as (device, inode). A link that leads back to one is not followed.
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
                # A broken link counts as an image that can't be read, and is reported with the others.
                file = entry.stat() if entry.is_file() else None
                yield entry.path, file.st_size if file else 0, file.st_mtime_ns if file else 0


def _images_by_class(directory: Path) -> dict[str, list[ImageFile]]:
    """Return the sorted image files of each class, which is a folder in ``directory``. Omit empty classes."""
    with os.scandir(directory) as entries:
        classes = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    found = {name: sorted(image_files(str(directory / name))) for name in classes}
    return {name: images for name, images in found.items() if images}


def _read(names: list[str], labels: list[int], i: int) -> Example:
    def content() -> bytes:
        try:
            return Path(names[i]).read_bytes()
        except OSError as error:
            if error.errno not in _NO_FILE:
                raise
            raise BadImage(error.strerror or str(error)) from error

    return Example(names[i], labels[i], content)
