"""The windows of photographs and their features, which are computed once and kept in files."""

import dataclasses
import functools
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from alexnet_jax.data.images import BadImage, file_content, whole
from alexnet_jax.data.loader import ahead
from alexnet_jax.detection import proposals, stored
from alexnet_jax.detection.annotations import Photograph
from alexnet_jax.detection.extractor import Extractor, Features, joined
from alexnet_jax.detection.windows import warped
from alexnet_jax.errors import RunError, UserError
from alexnet_jax.runtime import progress
from alexnet_jax.text import time_in_words

_PIECE = 256  # windows in memory at a time, in each thread

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True, eq=False)
class Example:
    """A photograph with the boxes that become windows.

    Attributes:
      photograph: the photograph.
      boxes_Nx4: float32, the boxes of the windows: first those of the objects, if the example is for
        training, then the proposals.
      objects: number of boxes that are objects.
      checksum: CRC-32 of the photograph's file.
    """

    photograph: Photograph
    boxes_Nx4: np.ndarray
    objects: int
    checksum: int

    def windows(self, fill_SxSx3: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the windows of some boxes, uint8 of shape (windows, side, side, 3).

        Raises:
          UserError: the photograph can't be read.
        """
        image = decoded(self.photograph, content_of(self.photograph))
        found = [warped(image, box, fill_SxSx3) for box in self.boxes_Nx4[rows]]
        return np.array(found, np.uint8).reshape(-1, *fill_SxSx3.shape)


@dataclasses.dataclass(frozen=True, eq=False)
class Stored:
    """The features of examples, in a folder with a file for each photograph.

    Attributes:
      folder: the folder.
      weights: text that differs for other weights of the network.
    """

    folder: Path
    weights: str

    def path(self, example: Example) -> Path:
        """Return the path of an example's file."""
        return self.folder / f"{example.photograph.name}.npz"

    def identity(self, example: Example) -> str:
        """Return what the file of an example must belong to."""
        boxes = zlib.crc32(example.boxes_Nx4.tobytes())
        return f"{self.weights}, photograph {example.checksum:08x}, windows {boxes:08x}"

    def read(self, example: Example, name: str) -> np.ndarray:
        """Read ``units_NxU`` or ``maps_NxM`` of `extractor.Features`.

        Raises:
          RunError: the file is gone or damaged.
        """
        return self._load(example, [name])[name]

    def both(self, example: Example) -> Features:
        """Read all features of an example.

        Raises:
          RunError: the file is gone or damaged.
        """
        return Features(**self._load(example, [field.name for field in dataclasses.fields(Features)]))

    def _load(self, example: Example, names: Sequence[str]) -> dict[str, np.ndarray]:
        found = stored.load(self.path(example), self.identity(example), names)
        if found is None:
            raise RunError(f"{self.path(example)} is gone or was damaged: run the same command again")
        return found


def examples(
    photographs: Sequence[Photograph], folder: Path, most: int, with_objects: bool, say: Say
) -> list[Example]:
    """Return examples of photographs, with proposals from files or by selective search.

    Args:
      photographs: the photographs.
      folder: folder of the proposals.
      most: number of proposals of a photograph.
      with_objects: whether the objects become windows, too: for training.
      say: function that takes a line for the user.

    Raises:
      UserError: a photograph can't be read, or has another size than its annotations say.
    """
    search = functools.cache(proposals.selective_search)

    def load(photograph: Photograph) -> tuple[Example, bool]:
        content = content_of(photograph)
        checksum = zlib.crc32(content)
        identity = f"{proposals.IDENTITY}, photograph {checksum:08x}"
        path = folder / f"{photograph.name}.npz"
        found = before = stored.load(path, identity, ["boxes_Nx4"])
        if found is None:
            boxes_Nx4 = search()(np.asarray(decoded(photograph, content))).astype(np.float32)
            stored.save(path, identity, found := {"boxes_Nx4": boxes_Nx4})
        objects = photograph.boxes_Nx4.astype(np.float32) if with_objects else np.zeros((0, 4), np.float32)
        boxes = np.concatenate([objects, found["boxes_Nx4"][:most]])
        return Example(photograph, boxes, len(objects), checksum), before is None

    made, searched, start = [], 0, time.perf_counter()
    with progress.Long(0, len(photographs), "photograph", say) as bar:
        for example, is_new in ahead(load, photographs, "batch"):
            made.append(example)
            searched += is_new
            bar.add(1)
    if searched:
        say(f"proposals of {_rate(searched, 'photographs', time.perf_counter() - start)}")
    return made


def extract(extractor: Extractor, examples: Sequence[Example], folder: Path, say: Say) -> Stored:
    """Compute the features of all windows that are not in files yet, and return where they are.

    Args:
      extractor: the network.
      examples: the photographs and their windows.
      folder: folder of the files.
      say: function that takes a line for the user.

    Raises:
      UserError: a file belongs to other weights, another photograph or other windows.
      RunError: a feature is not finite.
    """
    features = Stored(folder, extractor.identity)
    missing = [each for each in examples if not stored.exists(features.path(each), features.identity(each))]

    pieces = [
        (example, rows)
        for example in missing
        for rows in np.split(np.arange(len(example.boxes_Nx4)), range(_PIECE, len(example.boxes_Nx4), _PIECE))
    ]

    def load(piece: tuple[Example, np.ndarray]) -> tuple[Example, np.ndarray]:
        example, rows = piece
        return example, example.windows(extractor.fill, rows)

    total = sum(len(each.boxes_Nx4) for each in examples)
    before = total - sum(len(each.boxes_Nx4) for each in missing)
    count, parts, start = 0, [], time.perf_counter()
    with progress.Long(before, total, "window", say) as bar:
        for example, windows in ahead(load, pieces, "batch"):
            parts.append(extractor(windows))
            count += len(windows)
            bar.add(len(windows))
            if sum(len(part.units_NxU) for part in parts) == len(example.boxes_Nx4):
                stored.save(features.path(example), features.identity(example), vars(joined(parts)))
                parts = []
    if count:
        say(f"features of {_rate(count, 'windows', time.perf_counter() - start)}")
    return features


def content_of(photograph: Photograph) -> bytes:
    """Read the file of a photograph.

    Raises:
      UserError: it can't be read.
    """
    try:
        return file_content(photograph.path)
    except BadImage as error:
        raise UserError(f"{photograph.path} can't be read: {error}") from error


def decoded(photograph: Photograph, content: bytes) -> Image.Image:
    """Decode a photograph, as RGB.

    Raises:
      UserError: it can't be decoded, or has another size than its annotations say.
    """
    try:
        image = whole(content)
    except BadImage as error:
        raise UserError(f"{photograph.path} can't be read: {error}") from error
    if image.size[::-1] != photograph.size:
        sizes = [f"{width}x{height}" for height, width in (image.size[::-1], photograph.size)]
        raise UserError(
            f"{photograph.path} has {sizes[0]} pixels, but its annotations are for {sizes[1]}: take the"
            " photographs that were annotated"
        )
    return image


def _rate(count: int, unit: str, seconds: float) -> str:
    return f"{count:,} {unit} in {time_in_words(seconds)}, {count / seconds:.3g} a second"
