"""Where images come from: data sets prepared by TFDS, folders of images, scikit-learn's digits.

A source is opened to prepare the cache, and not again. It can be pickled: several processes read it.
"""

import dataclasses
from pathlib import Path

from alexnet_jax import files
from alexnet_jax.data.digits import open_digits
from alexnet_jax.data.folder import USUAL_TEST, open_folder
from alexnet_jax.data.sampler import permutation
from alexnet_jax.data.source import Source
from alexnet_jax.errors import UserError


def absolute(name: str) -> str:
    """The same source, whatever folder it is asked for from."""
    kind, _, rest = name.partition(":")
    return f"folder:{Path(files.absolute(rest)).resolve()}" if kind == "folder" and rest else name


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
        source = open_digits()
    elif kind == "tfds" and rest:
        from alexnet_jax.data.tfds import open_tfds

        source = _with_test(open_tfds(rest), test)
    elif kind == "folder" and rest:
        source = open_folder(Path(files.absolute(rest)), test)
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
