"""The most probable classes of photographs, as figure 4 (left) of the paper shows them."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from alexnet_jax.images import BadImage, square
from alexnet_jax.sources import image_files
from alexnet_jax.workdir import Restored

TOP = 5
_AT_ONCE = 16  # images in a batch
_BAR = 24  # characters of a bar that means 100 %
_COLUMNS, MOST_IN_A_PICTURE = 4, 48


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
      path: of the file.
      image: what was looked at, uint8 of shape (height, width, 3).
      guesses: the most probable classes, the first one first.
    """

    path: str
    image: np.ndarray
    guesses: tuple[Guess, ...]

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
            known = probabilities[: len(net.data.class_names)]  # a net may have more outputs than its data
            guesses = (
                Guess(int(i), net.data.class_names[i], net.data.class_words[i], float(known[i]))
                for i in np.argsort(-known, kind="stable")[:TOP]
            )
            yield Prediction(path, image, tuple(guesses))


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


def save_picture(predictions: list[Prediction], path: str) -> None:
    """Draws each image above the bars of its guesses.

    Args:
      predictions: one at least, `MOST_IN_A_PICTURE` at most.
      path: of the picture.
    """
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, len(predictions))
    rows = -(-len(predictions) // columns)
    figure = Figure(figsize=(3.2 * columns, 4.6 * rows), layout="constrained")
    cells = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=[3, 1.4] * rows)
    for ax in cells.flat:
        ax.set_axis_off()
    for i, prediction in enumerate(predictions):
        row, column = divmod(i, columns)
        picture, bars = cells[2 * row, column], cells[2 * row + 1, column]
        picture.imshow(prediction.image)
        picture.set_title(_short(Path(prediction.path).name, 34), fontsize=9)
        places = np.arange(len(prediction.guesses))
        bars.barh(places, [guess.probability for guess in prediction.guesses], color="#9ec5e8", height=0.8)
        for place, guess in zip(places, prediction.guesses, strict=True):
            bars.text(0.01, place, _short(guess.name, 30), va="center", fontsize=9)
            bars.text(0.99, place, f"{guess.probability:.1%}", va="center", ha="right", fontsize=9)
        bars.set(xlim=(0, 1), ylim=(len(places) - 0.5, -0.5))
    figure.savefig(path, dpi=120)


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
