"""Find objects in photographs. Read it from top to bottom."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from PIL import Image

from alexnet_jax.data.images import BadImage, file_content, whole
from alexnet_jax.data.walk import named_images
from alexnet_jax.detection.detector import Detector
from alexnet_jax.detection.extractor import Extractor
from alexnet_jax.detection.proposals import selective_search
from alexnet_jax.detection.windows import warped
from alexnet_jax.errors import reason
from alexnet_jax.files import failure
from alexnet_jax.runtime import progress
from alexnet_jax.text import visible


@dataclasses.dataclass(frozen=True)
class Detected:
    """A detected object.

    Attributes:
      class_name: its class.
      score: score of the class's SVM.
      box: (x1, y1, x2, y2) in pixels, as in `boxes`.
    """

    class_name: str
    score: float
    box: tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True, eq=False)
class Scene:
    """The objects that were detected in a photograph.

    Attributes:
      path: path of its file.
      image: the photograph.
      objects: the objects, by falling score.
    """

    path: str
    image: Image.Image
    objects: tuple[Detected, ...]

    def text(self) -> str:
        """Return the path, and a line for each object."""
        lines = [visible(self.path)]
        for each in self.objects:
            corners = " ".join(f"{x:6.1f}" for x in each.box)
            lines.append(f"  {each.score:6.2f}  {corners}  {visible(each.class_name)}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return the record that ``alexnet-jax detect predict --json`` writes."""
        objects = [{"class": x.class_name, "score": x.score, "box": list(x.box)} for x in self.objects]
        return {"path": self.path, "objects": objects}


def predict(
    detector: Detector,
    network: Extractor,
    paths: Iterable[str | os.PathLike[str]],
    least_score: float = 0.0,
    complain: Callable[[str], None] = progress.complain,
) -> Iterator[Scene]:
    """Yield the objects in each photograph.

    Args:
      detector: the detector.
      network: its network.
      paths: image files, and folders of images.
      least_score: least score of an object.
      complain: function that takes a line about each path that is no image and is left out.

    Raises:
      UserError: OpenCV's contributed modules are not installed.
    """
    search, most = selective_search(), detector.description.max_proposals
    for path in named_images(paths, complain):
        try:
            image = whole(file_content(path))
        except (BadImage, OSError, MemoryError) as error:
            complain(f"{path} is left out: {failure(error) or reason(error)}")
            continue
        boxes_Nx4 = search(np.asarray(image))[:most]
        objects = []
        if len(boxes_Nx4):  # a tiny image has no proposals
            windows = np.array([warped(image, box, network.fill) for box in boxes_Nx4])
            features = network(windows)
            found = detector.detect(boxes_Nx4, features.units_NxU)
            found = detector.regressed(found, features.maps_NxM, image.size[::-1])
            for class_name, each in zip(detector.description.class_names, found, strict=True):
                for box, score in zip(each.boxes_Nx4.tolist(), each.scores_N.tolist(), strict=True):
                    if score >= least_score:
                        objects.append(Detected(class_name, score, tuple(box)))
        objects.sort(key=lambda each: -each.score)
        yield Scene(path, image, tuple(objects))
