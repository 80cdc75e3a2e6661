"""The words for classes that are named by a WordNet id: n01440764 is "tench, Tinca tinca"."""

import codecs
import re
from collections.abc import Sequence
from pathlib import Path

from alexnet_jax import files

_ID = re.compile(r"n\d{8}")
_LINE = re.compile(r'[\s"]*(n\d{8})[\s",;]+(.*?)[\s"]*')
FILES = ("words.txt", "synset_words.txt", "LOC_synset_mapping.txt")  # ImageNet's, Caffe's, Kaggle's
"""The names of lists of words."""

_LONGEST = 10**6  # bytes of a list of classes


def words_of(class_names: Sequence[str], folder: Path | None = None) -> tuple[str, ...]:
    """Return words for each class. A class that is not named by a known id keeps its name.

    Args:
      class_names: names of the classes, by label.
      folder: folder of the data set. It may hold a list with an id and its words on each line, as ImageNet's
        lists have, in UTF-8 or UTF-16. The words for the thousand classes of ILSVRC-2012 come from TFDS.
    """
    if not any(_ID.fullmatch(name) for name in class_names):
        return tuple(class_names)
    known = of_ilsvrc_2012() | (_in_folder(folder) if folder is not None else {})
    return tuple(known.get(name, name) for name in class_names)


def without_words(class_names: Sequence[str], class_words: Sequence[str]) -> list[str]:
    """Return the names of the classes that are named by an id for which no words are known."""
    pairs = zip(class_names, class_words, strict=True)
    return [name for name, words in pairs if name == words and _ID.fullmatch(name)]


def listed(file: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names and the words of the classes that a file lists, one on each line, by label.

    A line is a name, or an id and its words, as in Caffe's ``synset_words.txt``.

    Raises:
      OSError: the file can't be read.
      ValueError: it is not a regular file, or has more than a million bytes.
    """
    lines = [line.strip() for line in _text(files.read(file, _LONGEST)).splitlines() if line.strip()]
    found = [_LINE.fullmatch(line) for line in lines]
    names = tuple(pair[1] if pair else line for line, pair in zip(lines, found, strict=True))
    known = words_of(names)
    words = tuple((pair and pair[2]) or word for pair, word in zip(found, known, strict=True))
    return names, words


def _in_folder(folder: Path) -> dict[str, str]:
    for file in (folder / name for name in FILES):
        if file.is_file():
            found = (_LINE.fullmatch(line) for line in _text(file.read_bytes()).splitlines())
            return {pair[1]: pair[2] for pair in found if pair and pair[2]}
    return {}


def _text(content: bytes) -> str:
    """Decode a list of words. Notepad and PowerShell begin files with a byte order mark or write UTF-16."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace")
    if b"\0" in content[:2]:
        return content.decode("utf-16-be" if content[:1] == b"\0" else "utf-16-le", errors="replace")
    return content.decode("utf-8-sig", errors="replace")


def of_ilsvrc_2012() -> dict[str, str]:
    """Return the WordNet ids of the thousand classes of ILSVRC-2012, by label, and their words."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.datasets.siscore import labels

    ids = Path(tfds.core.tfds_path("datasets/imagenet2012/labels.txt")).read_text().split()
    return dict(zip(ids, labels.IMAGENET_LABELS_LIST, strict=True))
