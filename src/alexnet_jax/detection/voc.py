"""The folders of PASCAL VOC: ``Annotations/ID.xml`` describes ``JPEGImages/ID.jpg``."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, fromstring

from alexnet_jax import files
from alexnet_jax.detection.described import Described, Object, reading
from alexnet_jax.errors import UserError

_LARGEST = 2**22  # bytes of a file


def read_voc(folder: Path, wanted: Callable[[str], bool]) -> Iterator[Described]:
    """Yield the photographs of a folder such as ``VOCdevkit/VOC2007``, by rising id.

    Args:
      folder: the folder.
      wanted: function of an id that returns whether to read the file of this photograph.

    Raises:
      UserError: the folder or a file in it has another content.
    """
    if not (folder / "Annotations").is_dir():
        raise UserError(
            f"{folder} has no folder Annotations: name a folder such as VOCdevkit/VOC2007, or a file of"
            " COCO JSON"
        )
    for path in sorted((folder / "Annotations").glob("*.xml")):
        if wanted(path.stem):
            with reading(path):
                described = _described(fromstring(files.read(path, _LARGEST)))
            yield Described(str(folder / "JPEGImages" / f"{path.stem}.jpg"), *described)


def _described(root: Element) -> tuple[tuple[int, int], tuple[Object, ...]]:
    """Return the size and the objects of an ``<annotation>``. Parts of persons are no objects."""
    height, width = (int(_number(root, f"size/{side}")) for side in ("height", "width"))
    objects = []
    for each in root.findall("object"):
        xmin, ymin, xmax, ymax = (
            _number(each, f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")
        )
        name = each.findtext("name", "").strip() or None
        difficult = each.findtext("difficult", "0").strip() == "1"
        objects.append(Object(name, (xmin - 1, ymin - 1, xmax, ymax), difficult))  # see `boxes`
    return (height, width), tuple(objects)


def _number(element: Element, path: str) -> float:
    text = element.findtext(path)
    if text is None:
        raise ValueError(f"<{element.tag}> has no {path}")
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{path} is {text}")
    return number
