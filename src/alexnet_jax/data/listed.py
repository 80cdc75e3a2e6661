"""From a list of labelled images to the classes, the splits and the version of a data set."""

import hashlib
import itertools
import os
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from alexnet_jax.data.sampler import permutation
from alexnet_jax.data.source import Example, Options, Split, left_out_lines, with_every_class
from alexnet_jax.errors import UserError

NO_LABEL = "images without a label, or with the label -1"
"""The reason for which an image is left out that has the label -1 in `splits_of`."""

LABEL_NAMES = ("label", "class", "class_name", "category")
"""The names of columns and of JSON keys that are taken for the label."""

_SPLITS = ("train", "validation", "test")


def chosen(
    candidates: Sequence[str], wanted: str | None, where: str, what: str, others: Iterable[str] = ()
) -> str | None:
    """Return the only candidate; None if there is none.

    Args:
      candidates: names of what may be the image or the label.
      wanted: the name in ``config.data.columns``, which decides; None if it is not set.
      where: what has these names, for messages.
      what: ``image`` or ``label``.
      others: more names that may be wanted.

    Raises:
      UserError: there are several candidates, and none is wanted.
    """
    if wanted is not None:
        return wanted if wanted in candidates or wanted in others else None
    if len(candidates) > 1:
        raise UserError(
            f"config.data.source: {where} has several candidates for the {what},"
            f" {', '.join(candidates)}: name those of the image and the label with"
            " --config.data.columns=IMAGE,LABEL"
        )
    return candidates[0] if candidates else None


def classes_of(labels: Sequence[str], where: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the names of the classes, and the number of the class of each label, -1 if it has none.

    If all labels are integers, the classes have their order, otherwise that of the words. Words are composed
    (NFC), as the names of folders are.

    Args:
      labels: the labels as text; empty or -1 for an image without a label.
      where: what has the labels, for messages.

    Raises:
      UserError: an integer is below -1, or has several spellings.
    """
    texts = [unicodedata.normalize("NFC", label.strip()) for label in labels]
    different = set(texts) - {"", "-1"}
    try:
        integers = {text: int(text) for text in different}
        names = sorted(different, key=integers.__getitem__)
    except ValueError:
        integers, names = {}, sorted(different)
    if integers and integers[names[0]] < 0:
        raise UserError(
            f"config.data.source: {where} has the label {names[0]}, but integers must be from 0 to the number"
            " of classes - 1, or -1 for an image without a label"
        )
    if len(set(integers.values())) < len(integers):
        twice = next(b for a, b in itertools.pairwise(names) if integers[a] == integers[b])
        raise UserError(f"config.data.source: {where} has several spellings of the label {integers[twice]}")
    numbers = {name: number for number, name in enumerate(names)}
    return tuple(names), np.array([numbers.get(text, -1) for text in texts], np.int32)


def splits_of(
    read: Callable[[int], Example],
    labels: np.ndarray,
    rows_by_split: Mapping[str | None, np.ndarray],
    class_names: Sequence[str],
    options: Options,
    where: str,
    left_out: Mapping[str, Sequence[str]],
) -> tuple[dict[str, Split], tuple[str, ...]]:
    """Return the splits of a data set, without the images that have no label, and notes for the user.

    Args:
      read: function that reads an example by its number.
      labels: labels of all images; -1 for none.
      rows_by_split: numbers of the images of each split, in order; with the only key None, there are no
        splits, and the images are split by a fixed seed.
      class_names: names of the classes.
      options: fractions of the images for validation and test if there are no splits.
      where: what has the images, for messages.
      left_out: `Source.left_out`, for messages.

    Raises:
      UserError: there are no images for training, a label is out of range, or a class has none for training.
    """
    if len(labels) and not -1 <= labels.min() <= labels.max() < len(class_names):
        strange = labels[(labels < -1) | (labels >= len(class_names))][0]
        raise UserError(
            f"config.data.source: {where} has the label {strange}, but labels must be from 0 to"
            f" {len(class_names) - 1}: correct it"
        )
    labelled = {split: rows[labels[rows] >= 0] for split, rows in rows_by_split.items()}
    if None in labelled:  # items(), because the keys have another type
        labelled = dict(divided(labelled[None], options.validation, options.test).items())
    train = labelled.get("train", np.array([], int))
    if not len(train):
        have = [split for split in _SPLITS if len(labelled.get(split, ()))]
        others = f", only for {' and '.join(have)}" if have else ""
        reasons = "".join(f" ({line})" for line in left_out_lines(left_out))
        raise UserError(f"config.data.source: {where} has no labelled images for training{others}{reasons}")
    if len(class_names) < 2:
        raise UserError(f"config.data.source: {where} has only one class, {class_names[0]}: add another one")
    if None not in rows_by_split:
        for split, rows in labelled.items():
            if len(untrained := np.setdiff1d(labels[rows], labels[train])):
                raise UserError(
                    f"config.data.source: {where} has images of the class {class_names[untrained[0]]} in"
                    f" {split}, but none in train: add some, or remove these"
                )
    splits = {
        split: Split(read, labelled[split], labels) for split in _SPLITS if len(labelled.get(split, ()))
    }
    return with_every_class(splits) if None in rows_by_split else (splits, ())


def version(names: Iterable[str], sizes: Iterable[int]) -> str:
    """Return a text that changes with the names or the sizes of images."""
    digest = hashlib.sha256()
    for name, size in zip(names, sizes, strict=True):
        digest.update(f"{name} {size}\n".encode(errors="surrogatepass"))
    return digest.hexdigest()[:12]


def stamp(files: Iterable[os.stat_result]) -> str:
    """Return a text that changes whenever files change."""
    times = [(file.st_size, file.st_mtime_ns) for file in files]
    return hashlib.sha256(repr(times).encode()).hexdigest()


def divided(rows: np.ndarray, validation: float | None, test: float) -> dict[str, np.ndarray]:
    """Split the images of a data set without splits by a fixed seed.

    Args:
      rows: numbers of the images, in order.
      validation: ``config.data.validation``. None: a tenth of the images is for validation. A number: none
        is, because the caller splits them off the training images.
      test: ``config.data.test``.

    Returns:
      The numbers for ``train``, ``validation`` and ``test``, in order.
    """
    shuffled = rows[permutation(len(rows), seed=0)]
    tenth = len(rows) // 10 if validation is None else 0
    ends = tenth, tenth + int(test * len(rows))
    parts = {
        "train": shuffled[ends[1] :],
        "validation": shuffled[: ends[0]],
        "test": shuffled[ends[0] : ends[1]],
    }
    return {split: np.sort(part) for split, part in parts.items()}
