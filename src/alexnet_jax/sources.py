"""Where images come from: data sets prepared by TFDS, and scikit-learn's handwritten digits.

A source is opened to prepare the cache, and not again.
"""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from alexnet_jax.config import near
from alexnet_jax.errors import UserError
from alexnet_jax.order import permutation


@dataclasses.dataclass(frozen=True)
class Split:
    """Images that belong together.

    Attributes:
      count: how many.
      read: the i-th image, uint8 of shape (height, width, 3), and its label.
    """

    count: int
    read: Callable[[int], tuple[np.ndarray, int]]

    def subset(self, rows: np.ndarray) -> "Split":
        """These rows alone, in this order."""
        return Split(len(rows), lambda i: self.read(int(rows[i])))


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set: its version, its classes' names by label, and its splits by name."""

    version: str
    class_names: tuple[str, ...]
    splits: dict[str, Split]


def open_source(name: str, validation: float) -> Source:
    """Opens ``tfds:NAME[/CONFIG][:VERSION]`` or ``sklearn:digits``.

    Args:
      name: ``config.data.source``.
      validation: ``config.data.validation``: what to take from the training set where the data
        set has no validation split of its own; below 1 a fraction, else so many examples.

    Raises:
      UserError: no such source, or TFDS has not prepared it.
    """
    kind, _, rest = name.partition(":")
    if name == "sklearn:digits":
        source = _digits()
    elif kind == "tfds" and rest:
        source = _tfds(rest)
    else:
        raise UserError(f"config.data.source is {name!r}, but must be tfds:NAME or sklearn:digits")
    return _with_validation(source, validation, name)


def _with_validation(source: Source, validation: float, name: str) -> Source:
    """The last of a shuffle that is the same for every run become the validation split."""
    train = source.splits["train"]
    count = round(validation * train.count) if validation < 1 else int(validation)
    if "validation" in source.splits or not count:
        return source
    if count >= train.count:
        raise UserError(
            f"config.data.validation = {validation}: {name} has only {train.count} training examples"
        )
    order = permutation(train.count, seed=0)
    held_out = {"train": train.subset(order[:-count]), "validation": train.subset(order[-count:])}
    return dataclasses.replace(source, splits=source.splits | held_out)


def _digits() -> Source:
    """1,797 grey 8x8 images; the test split is a stratified fifth that never changes."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    grey = np.rint(images.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    rgb = np.repeat(grey, 3, axis=-1)
    train, test = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=0)

    def split(rows: np.ndarray) -> Split:
        return Split(len(labels), lambda i: (rgb[i], int(labels[i]))).subset(rows)

    names = tuple(str(digit) for digit in range(10))
    return Source("1.0.0", names, {"train": split(train), "test": split(test)})


def _tfds(name: str) -> Source:
    """A data set of images and labels that TFDS prepared as ``array_record``, read without TensorFlow."""
    import tensorflow_datasets as tfds

    path, _, version = name.partition(":")
    root = Path(os.environ.get("TFDS_DATA_DIR") or tfds.core.constants.DATA_DIR).expanduser()
    builder_dir = _prepared(root / path, version)
    if builder_dir is None:
        known = tfds.list_builders(with_community_datasets=False)
        data_set = path.partition("/")[0]
        if data_set not in known:
            raise UserError(f"TFDS has no data set {data_set}{near(data_set, known)}")
        raise UserError(
            f"TFDS has not prepared {name} in {root}: set TFDS_DATA_DIR to where it is, or prepare it with"
            f" pip install 'alexnet-jax[tensorflow]' and then tfds build {path} --file_format=array_record"
        )
    builder = tfds.builder_from_directory(builder_dir)
    features = builder.info.features
    if "image" not in features or "label" not in features or not hasattr(features["label"], "names"):
        raise UserError(f"tfds:{name} has {', '.join(features)}, but an image and a class label are needed")
    if "train" not in builder.info.splits:
        raise UserError(f"tfds:{name} has no train split, only {', '.join(builder.info.splits)}")
    if builder.info.file_format.value != "array_record":
        raise UserError(
            f"{builder_dir} holds {builder.info.file_format.value} files, which need TensorFlow:"
            f" prepare it with tfds build {path} --file_format=array_record"
        )

    def split(name: str) -> Split:
        examples = builder.as_data_source(split=name)

        def read(i: int) -> tuple[np.ndarray, int]:
            example = examples[i]
            image = example["image"]
            return np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image, int(example["label"])

        return Split(len(examples), read)

    splits = {name: split(name) for name in ("train", "validation", "test") if name in builder.info.splits}
    return Source(str(builder.info.version), tuple(features["label"].names), splits)


def _prepared(directory: Path, version: str) -> Path | None:
    """The newest prepared version, or the one that is asked for."""

    def numbers(path: Path) -> tuple[int, ...]:
        return tuple(int(part) for part in path.name.split("."))

    found = [
        info.parent
        for info in directory.glob("*.*.*/dataset_info.json")
        if not version or info.parent.name == version
    ]
    return max(found, key=numbers, default=None)
