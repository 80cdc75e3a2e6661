"""Where images come from: data sets prepared by TFDS, folders of images, scikit-learn's digits.

A source is opened to prepare the cache, and not again. It can be pickled: several processes read it.
"""

import dataclasses
import errno
import functools
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np

from alexnet_jax.data.images import SUFFIXES, BadImage
from alexnet_jax.data.sampler import permutation
from alexnet_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Example:
    """One labelled image.

    Attributes:
      name: for people.
      label: its class.
      content: reads it: an image file's bytes, or uint8 of shape (height, width, 3). Raises
        `images.BadImage` where that can't be done.
    """

    name: str
    label: int
    content: Callable[[], bytes | np.ndarray]


@dataclasses.dataclass(frozen=True)
class Split:
    """Examples that belong together: those with these numbers, in this order."""

    read: Callable[[int], Example]
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> Example:
        return self.read(int(self.rows[i]))

    def subset(self, rows: np.ndarray) -> "Split":
        """These of its examples alone, in this order."""
        return Split(self.read, self.rows[rows])


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set.

    Attributes:
      version: changes when its images do.
      class_names: by label.
      splits: by name: ``train``, and what there is of ``validation`` and ``test``.
      folder: with more about the data set, where there is one.
      stamp: changes whenever the images may have, even if the version can't tell.
    """

    version: str
    class_names: tuple[str, ...]
    splits: dict[str, Split]
    folder: Path | None = None
    stamp: str = ""


def absolute(name: str) -> str:
    """The same source, whatever folder it is asked for from."""
    kind, _, rest = name.partition(":")
    return f"folder:{full_path(rest).resolve()}" if kind == "folder" and rest else name


def full_path(path: str) -> Path:
    """An absolute path, ``~`` spelt out (where `Path.expanduser` would raise for a user that is none)."""
    return Path(os.path.expanduser(path)).absolute()  # noqa: PTH111


USUAL_TEST = 0.1
"""The default of ``config.data.test``, with which a folder without splits is split 80/10/10."""


def open_source(name: str, validation: float, test: float = USUAL_TEST) -> Source:
    """Opens ``tfds:NAME[/CONFIG][:VERSION]``, ``folder:DIR`` or ``sklearn:digits``.

    Args:
      name: ``config.data.source``.
      validation: ``config.data.validation``: what to take from the training set where the data
        set has no validation split of its own; below 1 a fraction, else so many examples.
      test: ``config.data.test``: the fraction that is for testing of a folder without splits, and of what
        TFDS has for training alone. By default a tenth of the folder is for validation, whatever
        ``validation`` is.

    Raises:
      UserError: no such source, TFDS has not prepared it, or a folder without classes of images.
    """
    kind, _, rest = name.partition(":")
    if name == "sklearn:digits":
        source = _digits()
    elif kind == "tfds" and rest:
        from alexnet_jax.data.tfds import open_tfds

        source = _with_test(open_tfds(rest), test)
    elif kind == "folder" and rest:
        source = _folder(full_path(rest), test)
    else:
        raise UserError(
            f"config.data.source is {name!r}, but must be tfds:NAME, folder:DIR or sklearn:digits"
        )
    return _with_validation(source, validation, name)


def _with_validation(source: Source, validation: float, name: str) -> Source:
    """The last of a shuffle that is the same for every run become the validation split."""
    train = source.splits["train"]
    count = round(validation * len(train)) if validation < 1 else int(validation)
    if "validation" in source.splits or not count:
        return source
    if count >= len(train):
        raise UserError(
            f"config.data.validation = {validation}: {name} has only {len(train)} training examples"
        )
    order = permutation(len(train), seed=0)
    held_out = {"train": train.subset(order[:-count]), "validation": train.subset(order[-count:])}
    return dataclasses.replace(source, splits=source.splits | held_out)


def _with_test(source: Source, test: float) -> Source:
    """Of a set that is all for training the first of a shuffle, the same for every run, are for testing."""
    if list(source.splits) != ["train"]:
        return source
    train = source.splits["train"]
    order = permutation(len(train), seed=1)
    count = int(test * len(order))
    splits = {"train": train.subset(order[count:]), "test": train.subset(order[:count])}
    return dataclasses.replace(source, splits={name: split for name, split in splits.items() if len(split)})


# ---- scikit-learn -----------------------------------------------------------------------------------


def _digits() -> Source:
    """1,797 grey 8x8 images; the test split is a stratified fifth that never changes."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    grey = np.rint(images.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    rgb = np.repeat(grey, 3, axis=-1)
    train, test = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=0)
    read = functools.partial(_array, rgb, labels)
    names = tuple(str(digit) for digit in range(10))
    return Source("1.0.0", names, {"train": Split(read, train), "test": Split(read, test)})


def _array(images_NxHxWx3: np.ndarray, labels_N: np.ndarray, i: int) -> Example:
    return Example(str(i), int(labels_N[i]), lambda: images_NxHxWx3[i])


# ---- Folders ----------------------------------------------------------------------------------------

_SPLITS = {"train": ("train",), "validation": ("val", "validation", "valid"), "test": ("test",)}


def _folder(root: Path, test: float) -> Source:
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
