"""The source ``folder:DIR``: image files in one folder for each class."""

import functools
import hashlib
import heapq
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

import numpy as np

from alexnet_jax import files
from alexnet_jax.data.images import NO_FILE, SUFFIXES, file_content
from alexnet_jax.data.sampler import permutation
from alexnet_jax.data.source import Example, Source, Split
from alexnet_jax.errors import UserError
from alexnet_jax.remote.paths import on_disk

ImageFile: TypeAlias = tuple[str, int, int]
"""The path of a file, its size in bytes, and its modification time in nanoseconds."""

_SPLITS = {"train": ("train",), "validation": ("val", "validation", "valid"), "test": ("test",)}


def identity(path: str) -> str:
    """Return the path that identifies a folder from any working directory, with links resolved."""
    on_disk(path, "the folder of images", "copy the images there")
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
      UserError: it is not a folder, has fewer than two classes of images, or two classes are the same folder.
    """
    on_disk(path, "the folder of images", "copy the images there")
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
        listed = {split: _images_by_class(directory, root) for split, directory in found.items()}
        if not listed.get("test", True):  # ImageNet's test images have no labels
            del listed["test"]
        whole = None if found else _images_by_class(root, root)
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


def image_files(starts: Iterable[str], above: Iterable[str] = ()) -> dict[str, list[ImageFile]]:
    """Return the sorted files below each of some folders that have the suffix of an image.

    Hidden files and folders are left out. Links are followed. A folder to which several paths lead is read
    once: for the start that contains it or, if none does, for the start with the shortest path to it. The
    result includes files that can't be read, so that they are reported.

    Args:
      starts: the folders.
      above: folders that contain them, to which a link may lead back.

    Raises:
      UserError: one of the folders is the same as another one, or lies below it.
      OSError: a folder can't be read.
    """
    found: dict[str, list[ImageFile]] = {start: [] for start in starts}
    seen = {_identity(path): path for path in above}
    folders = [(start, start) for start in found if not os.path.islink(start)]  # noqa: PTH114 (a million files)
    links = [(len(start), start, start) for start in found if os.path.islink(start)]  # noqa: PTH114
    heapq.heapify(links)
    while folders or links:
        folder, start = folders.pop() if folders else heapq.heappop(links)[1:]
        here = _identity(folder)
        if here in seen:
            if folder == start:
                raise UserError(
                    f"config.data.source: {folder} is the same folder as {seen[here]}, but an image has only"
                    " one class: remove one of them"
                )
            continue
        seen[here] = folder
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                is_image = os.path.splitext(entry.name)[1].lower() in SUFFIXES  # noqa: PTH122
                if entry.is_dir(follow_symlinks=False):
                    folders.append((entry.path, start))
                elif is_image or entry.is_symlink():
                    mode, size, changed = _status(entry)
                    if stat.S_ISDIR(mode):
                        heapq.heappush(links, (len(entry.path), entry.path, start))
                    elif is_image:
                        found[start].append((entry.path, size, changed))
    return {start: sorted(images) for start, images in found.items()}


def _identity(folder: str) -> tuple[int, int]:
    status = os.stat(folder)  # noqa: PTH116
    return status.st_dev, status.st_ino


def _status(entry: os.DirEntry[str]) -> tuple[int, int, int]:
    """Return the mode, the size and the time of a file; zeros for a link that leads nowhere."""
    try:
        status = entry.stat()
    except OSError as error:
        if error.errno not in NO_FILE:
            raise
        return 0, 0, 0
    return status.st_mode, status.st_size, status.st_mtime_ns


def _images_by_class(directory: Path, root: Path) -> dict[str, list[ImageFile]]:
    """Return the sorted images of each class, which is a folder in ``directory``. Omit empty classes."""
    classes = [str(each) for each in directory.iterdir() if each.is_dir() and not each.name.startswith(".")]
    found = image_files(sorted(classes), above=map(str, (root, directory)))
    return {Path(path).name: images for path, images in found.items() if images}


def _read(names: list[str], labels: list[int], i: int) -> Example:
    return Example(names[i], labels[i], functools.partial(file_content, names[i]))
