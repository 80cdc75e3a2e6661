"""Predict the most probable classes of photographs, as figure 4 (left) of the paper shows them."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from alexnet_jax.data.cache import Cache, DataInfo
from alexnet_jax.data.images import BadImage, file_content, square
from alexnet_jax.data.walk import named_images
from alexnet_jax.errors import RunError, reason
from alexnet_jax.files import failure
from alexnet_jax.runtime import progress
from alexnet_jax.text import visible
from alexnet_jax.training.restored import Restored, as_restored, check_views

TOP = 5
_AT_ONCE = 16  # images in a batch
_BAR = 24  # characters of a bar that means 100 %


@dataclasses.dataclass(frozen=True)
class Guess:
    """A class and its probability.

    Attributes:
      label: number of the class.
      class_name: the data set's name of the class.
      name: the class in words.
      probability: between 0 and 1.
    """

    label: int
    class_name: str
    name: str
    probability: float


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The most probable classes of an image.

    Attributes:
      path: path of the file; for an example of a data set, ``test[7]``.
      image: the image at the size that the network takes, uint8 of shape (height, width, 3).
      guesses: the five most probable classes, the most probable one first.
      right: the right class; None if it is not known.
    """

    path: str
    image: np.ndarray = dataclasses.field(repr=False)
    guesses: tuple[Guess, ...]
    right: Guess | None = None

    def text(self, bars: bool) -> str:
        """Return the path and a line for each guess, with a bar if ``bars`` is true."""
        lines = [visible(self.path)]
        for guess in self.guesses:
            bar = f"  {_bar(guess.probability)}" if bars else ""
            lines.append(f"  {guess.probability:7.2%}{bar}  {visible(guess.name)}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, object]:
        """Return the record that ``alexnet-jax predict --json`` writes."""
        names = {"label": "label", "class_name": "class", "name": "name", "probability": "probability"}
        guesses = [{names[k]: v for k, v in vars(guess).items()} for guess in self.guesses]
        return {"path": self.path, "top5": guesses}


def predict(
    net: Restored | str | os.PathLike[str],
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    views: int = 1,
    complain: Callable[[str], None] = progress.complain,
) -> Iterator[Prediction]:
    """Classify image files, and all images in folders.

    Files are read and classified in batches while the caller iterates. Each image is converted to a
    square of the size in ``net.data.image_size``, as `prepare` does.

    Args:
      net: a network from `restore`; or a workdir, whose last checkpoint is restored on all devices.
      paths: a file or a folder, or several of them.
      views: 1 for the centre crop; 10 for the average over the corners, the centre and their mirror images.
      complain: function that takes a line of text about each path that is no image and is left out; prints it
        on standard error by default.

    Returns:
      An iterator over the predictions, one for each image: its five most probable classes, with probabilities
      between 0 and 1.

    Raises:
      ValueError: ``views`` is neither 1 nor 10.
      UserError: the directory is no workdir, or has no intact checkpoint.
      RunError: a probability is not finite; the iterator raises it.
    """
    check_views(views)
    return _predictions(
        as_restored(net), [paths] if isinstance(paths, (str, os.PathLike)) else paths, views, complain
    )


def _predictions(
    net: Restored,
    paths: Iterable[str | os.PathLike[str]],
    views: int,
    complain: Callable[[str], None],
) -> Iterator[Prediction]:
    """Yield what `predict` returns."""
    size, resize = net.data.image_size[0], net.config.data.resize
    files = list(named_images(paths, complain))
    with progress.bar(total=len(files), unit="image", description="compiling") as bar:
        for start in range(0, len(files), _AT_ONCE):
            seen: list[tuple[str, np.ndarray]] = []
            for path in files[start : start + _AT_ONCE]:
                try:
                    seen.append((path, square(file_content(path), size, resize)[0]))
                except (BadImage, OSError, MemoryError) as error:
                    bar.clear()
                    complain(f"{path} is left out: {failure(error) or reason(error)}")
                bar.update()
            if not seen:
                continue
            # All batches have the same size, so the program is compiled once.
            batch = np.zeros((min(_AT_ONCE, len(files)), size, size, 3), np.uint8)
            batch[: len(seen)] = [image for _, image in seen]
            probabilities_BxC = _probabilities(net, batch, views)
            bar.set_description_str("predicting", refresh=False)
            bar.clear()  # the caller may print
            for (path, image), probabilities_C in zip(seen, probabilities_BxC, strict=False):
                yield Prediction(path, image, _best(net.data, probabilities_C))


def predict_examples(
    net: Restored, cache: Cache, split: str, rows: np.ndarray, views: int
) -> list[Prediction]:
    """Classify examples of a data set, whose right classes are known.

    Args:
      net: a network from `restore`.
      cache: the images.
      split: ``train``, ``validation`` or ``test``.
      rows: (examples,), positions in the split.
      views: number of crops of each image, 1 or 10.

    Raises:
      RunError: a probability is not finite.
    """
    images, labels = cache.images[split][rows], cache.labels[split][rows].tolist()
    return [
        Prediction(
            f"{split}[{row}]", image, _best(net.data, probabilities), _guess(net.data, probabilities, label)
        )
        for row, image, label, probabilities in zip(
            rows, images, labels, _probabilities(net, images, views), strict=True
        )
    ]


def _probabilities(net: Restored, images: np.ndarray, views: int) -> np.ndarray:
    found = net.predict_proba(images, views)
    if not np.isfinite(found).all():
        raise RunError(
            f"the probabilities of {net.workdir} at step {net.step} are not finite, so the network has"
            " diverged: choose another checkpoint with --step"
        )
    return found


def _best(info: DataInfo, probabilities_C: np.ndarray) -> tuple[Guess, ...]:
    known = probabilities_C[: len(info.class_names)]  # a network may have more outputs than classes
    return tuple(
        _guess(info, probabilities_C, label) for label in np.argsort(-known, kind="stable")[:TOP].tolist()
    )


def _guess(info: DataInfo, probabilities_C: np.ndarray, label: int) -> Guess:
    return Guess(label, info.class_names[label], info.class_words[label], float(probabilities_C[label]))


def _bar(probability: float) -> str:
    """Draw a bar in eighths of a character."""
    eighths = round(probability * _BAR * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")).ljust(_BAR)
