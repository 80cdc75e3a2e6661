"""The source ``folder:DIR``: image files in one folder for each class."""

import functools
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from alexnet_jax import files
from alexnet_jax.data.images import SUFFIXES, file_content
from alexnet_jax.data.layout import classes_of, splits_of
from alexnet_jax.data.listed import divided
from alexnet_jax.data.source import Example, Source, Split, left_out_lines, with_every_class
from alexnet_jax.data.walk import ImageFile, Walk, image_folders
from alexnet_jax.errors import UserError, near
from alexnet_jax.remote.paths import on_disk
from alexnet_jax.text import first_of


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
    classes lie in the folder itself, and their images are split by a fixed seed. Each class keeps at least
    one image for training.

    Args:
      path: path of the folder.
      validation: ``config.data.validation``. If it is None, a tenth of a folder without splits becomes the
        validation split. If it is a number, the caller splits off the validation split.
      test: ``config.data.test``: fraction of a folder without splits that becomes the test split.

    Raises:
      UserError: it is not a folder, has fewer than two classes of images, two classes are the same folder, or
        its folders may be splits as well as classes.
    """
    on_disk(path, "the folder of images", "copy the images there")
    root = Path(files.absolute(path))
    if not root.is_dir():
        raise UserError(
            f"{root} is not a folder: set --config.data.source=folder:DIR to the folder of the images"
        )
    walk = Walk(str(root))
    try:
        found = splits_of(walk)
        listed = {split: _images_by_class(walk, folder) for split, folder in found.items()}
        whole = None if found else _images_by_class(walk, str(root))
        by_class = listed["train"] if whole is None else whole
        _check(walk, found.get("train", str(root)), by_class)
    except OSError as error:
        raise UserError(f"config.data.source: {error.filename} can't be read: {error.strerror}") from error
    class_names = tuple(sorted(by_class))
    if not listed.get("test", True):  # ImageNet's test images have no labels
        del listed["test"]
    for split, others in listed.items():
        if not others:
            raise UserError(
                f"config.data.source: {found[split]} has no folders of images: put one for each class into it"
            )
        if strange := sorted(set(others) - set(class_names)):
            unlabelled = split == "test" and not set(others) & set(class_names)
            raise UserError(
                f"config.data.source: {found[split]} has the class {strange[0]}, but train does not"
                f"{near(strange[0], class_names)}: add images of it to train, or remove it"
                + (f"; if the images have no labels, move {found[split]} out of {root}" if unlabelled else "")
            )
    version, stamp = hashlib.sha256(), hashlib.sha256()
    below = len(f"{root}/")

    def split_of(images_by_class: Mapping[str, list[ImageFile]]) -> Split:
        names, labels = [], []
        for label, class_name in enumerate(class_names):
            for name, size, changed in images_by_class.get(class_name, []):
                names.append(name)
                labels.append(label)
                version.update(os.fsencode(f"{name[below:]} {size}\n"))
                stamp.update(f"{changed}\n".encode())
        return Split(functools.partial(_read, names, labels), np.arange(len(names)), np.array(labels))

    notes: tuple[str, ...] = ()
    if whole is None:
        splits = {name: split_of(images_by_class) for name, images_by_class in listed.items()}
    else:
        everything = split_of(whole)
        parts = divided(np.arange(len(everything)), validation, test)
        splits, notes = with_every_class(
            {name: everything.subset(part) for name, part in parts.items() if len(part)}
        )
    if inside := _folders_inside(by_class, below, depth=len(found) and 1):
        notes += (f"folders inside the classes, which are not classes themselves: {first_of(inside)}",)
    if links := walk.links_out():
        notes += (f"links out of {root} that are followed: {len(links):,} ({first_of(links)})",)
    return Source(
        "folder", version.hexdigest()[:12], class_names, splits, root, stamp.hexdigest(),
        left_out=walk.left_out(), notes=notes,
    )  # fmt: skip


def _images_by_class(walk: Walk, folder: str) -> dict[str, list[ImageFile]]:
    """Return the sorted images of each class whose folder lies in ``folder``. Leave out empty classes."""
    classes = classes_of(walk, folder)
    found = walk.images(classes.values(), above=(walk.root, folder))
    walk.leave_out("folders without images", (path for path, images in found.items() if not images))
    return {name: found[path] for name, path in classes.items() if found[path]}


def _folders_inside(by_class: Mapping[str, list[ImageFile]], below: int, depth: int) -> list[str]:
    """Return the folders in the classes if all images lie in such folders, and otherwise none.

    Args:
      by_class: images of each class.
      below: number of characters of the root in the path of an image.
      depth: number of folders between the root and the classes.
    """
    found = set()
    for images in by_class.values():
        for path, *_ in images:
            name, inside, *file = path[below:].split("/", depth + 2)[depth:]
            if not file:
                return []
            found.add(f"{name}/{inside}")
    return sorted(found)


def _check(walk: Walk, folder: str, by_class: Mapping[str, list[ImageFile]]) -> None:
    """Check that the folder of the training images, or of all images, holds at least two classes."""
    left_out = "; ".join(left_out_lines(walk.left_out()))
    but = f" ({left_out})" if left_out else ""
    if not by_class and image_folders(folder)[1]:
        raise UserError(
            f"config.data.source: {folder} has images, but no folders of images: put the images of each class"
            " into a folder with the name of the class"
        )
    if not by_class:
        raise UserError(
            f"config.data.source: {folder} has no images{but}: put a folder of images for each class into"
            f" DIR/train, DIR/val and DIR/test, or into DIR; image files end in {', '.join(sorted(SUFFIXES))}"
        )
    if len(by_class) < 2:
        (name,) = by_class
        inside, has_images = image_folders(f"{folder}/{name}")
        advice = (
            f"set folder:{folder}/{name} if {first_of(sorted(inside))} are the classes or the splits"
            if len(inside) > 1 and not has_images
            else "add another one"
        )
        raise UserError(f"config.data.source: {folder} has images of only one class, {name}{but}: {advice}")


def _read(names: list[str], labels: list[int], i: int) -> Example:
    return Example(names[i], labels[i], functools.partial(file_content, names[i]))
