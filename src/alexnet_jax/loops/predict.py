"""The most probable classes of photographs, as figure 4 (left) of the paper shows them."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from alexnet_jax.data.cache import Cache, DataInfo
from alexnet_jax.data.folder import image_files
from alexnet_jax.data.images import BadImage, square
from alexnet_jax.training.restored import Restored

TOP = 5
_AT_ONCE = 16  # images in a batch
_BAR = 24  # characters of a bar that means 100 %
MOST_IN_A_PICTURE = 48


@dataclasses.dataclass(frozen=True)
class Guess:
    """A class and how probable it is.

    Attributes:
      label: its number.
      class_name: as the data set calls it.
      name: its words.
      probability: between 0 and 1.
    """

    label: int
    class_name: str
    name: str
    probability: float


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a net makes of an image.

    Attributes:
      path: of the file; of an example of a data set, ``test[7]``.
      image: what was looked at, uint8 of shape (height, width, 3).
      guesses: the most probable classes, the first one first.
      right: the right class, where it is known.
    """

    path: str
    image: np.ndarray
    guesses: tuple[Guess, ...]
    right: Guess | None = None

    def text(self, bars: bool) -> str:
        """For people: the path, and a line for each guess, with a bar where that can be seen."""
        lines = [self.path]
        for guess in self.guesses:
            bar = f"  {_bar(guess.probability)}" if bars else ""
            lines.append(f"  {guess.probability:7.2%}{bar}  {guess.name}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, object]:
        """For ``--json``."""
        names = {"label": "label", "class_name": "class", "name": "name", "probability": "probability"}
        guesses = [{names[k]: v for k, v in vars(guess).items()} for guess in self.guesses]
        return {"path": self.path, "top5": guesses}


def predict(
    net: Restored, paths: Iterable[str], views: int, complain: Callable[[str], None]
) -> Iterator[Prediction]:
    """Looks at image files, and at all that are in folders, one after the other.

    Args:
      net: from `workdir.restore`.
      paths: of files and folders.
      views: of each image, 1 or 10.
      complain: takes a line about each path that is no image, which is left out.
    """
    size = net.data.image_size[0]
    files = list(_files(paths, complain))
    for start in range(0, len(files), _AT_ONCE):
        seen: list[tuple[str, np.ndarray]] = []
        for path in files[start : start + _AT_ONCE]:
            try:
                seen.append((path, square(Path(path).read_bytes(), size)[0]))
            except BadImage as error:
                complain(f"{path} is left out: {error}")
            except OSError as error:
                complain(f"{path} is left out: {error.strerror}")
        if not seen:
            continue
        # Batches of one size are compiled once.
        batch = np.zeros((min(_AT_ONCE, len(files)), size, size, 3), np.uint8)
        batch[: len(seen)] = [image for _, image in seen]
        for (path, image), probabilities in zip(seen, net.predict_proba(batch, views), strict=False):
            yield Prediction(path, image, _best(net.data, probabilities))


def predict_examples(
    net: Restored, cache: Cache, split: str, rows: np.ndarray, views: int
) -> list[Prediction]:
    """Looks at examples of a data set, whose right classes are known.

    Args:
      net: from `workdir.restore`.
      cache: of the images.
      split: ``train``, ``validation`` or ``test``.
      rows: (examples,), which of the split.
      views: of each image, 1 or 10.
    """
    images, labels = cache.images[split][rows], cache.labels[split][rows].tolist()
    return [
        Prediction(
            f"{split}[{row}]", image, _best(net.data, probabilities), _guess(net.data, probabilities, label)
        )
        for row, image, label, probabilities in zip(
            rows, images, labels, net.predict_proba(images, views), strict=True
        )
    ]


def _best(info: DataInfo, probabilities_C: np.ndarray) -> tuple[Guess, ...]:
    known = probabilities_C[: len(info.class_names)]  # a net may have more outputs than its data
    return tuple(
        _guess(info, probabilities_C, label) for label in np.argsort(-known, kind="stable")[:TOP].tolist()
    )


def _guess(info: DataInfo, probabilities_C: np.ndarray, label: int) -> Guess:
    return Guess(label, info.class_names[label], info.class_words[label], float(probabilities_C[label]))


def _files(paths: Iterable[str], complain: Callable[[str], None]) -> Iterator[str]:
    """Files as they are named, and in folders all whose names are those of images."""
    for path in paths:
        if not os.path.isdir(path):  # noqa: PTH112 (which has no error for any name)
            yield path
            continue
        try:
            found = sorted(name for name, *_ in image_files(path))
        except OSError as error:
            complain(f"{error.filename} can't be read: {error.strerror}")
            continue
        if not found:
            complain(f"{path} has no images")
        yield from found


def _bar(probability: float) -> str:
    """In eighths of a character."""
    eighths = round(probability * _BAR * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")).ljust(_BAR)
