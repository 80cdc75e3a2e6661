"""The words for classes that are named by a WordNet id: n01440764 is "tench, Tinca tinca"."""

import re
from collections.abc import Sequence
from pathlib import Path

_ID = re.compile(r"n\d{8}")
FILES = ("words.txt", "synset_words.txt", "LOC_synset_mapping.txt")  # ImageNet's, Caffe's, Kaggle's


def words_of(class_names: Sequence[str], folder: Path | None = None) -> tuple[str, ...]:
    """Return words for each class. A class that is not named by a known id keeps its name.

    Args:
      class_names: names of the classes, by label.
      folder: folder of the data set. It may hold a list with an id and its words on each line, as ImageNet's
        lists have. The words for the thousand classes of ILSVRC-2012 come from TFDS.
    """
    if not any(_ID.fullmatch(name) for name in class_names):
        return tuple(class_names)
    known = _of_ilsvrc_2012() | (_in_folder(folder) if folder is not None else {})
    return tuple(known.get(name, name) for name in class_names)


def _in_folder(folder: Path) -> dict[str, str]:
    for file in (folder / name for name in FILES):
        if file.is_file():
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            pairs = [line.split(maxsplit=1) for line in lines]
            return {pair[0]: pair[1].strip() for pair in pairs if len(pair) == 2}
    return {}


def _of_ilsvrc_2012() -> dict[str, str]:
    import tensorflow_datasets as tfds
    from tensorflow_datasets.datasets.siscore import labels

    ids = Path(tfds.core.tfds_path("datasets/imagenet2012/labels.txt")).read_text().split()
    return dict(zip(ids, labels.IMAGENET_LABELS_LIST, strict=True))
