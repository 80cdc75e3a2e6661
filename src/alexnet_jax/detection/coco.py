"""COCO JSON: a file that describes the objects of many photographs."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from alexnet_jax import files, schema
from alexnet_jax.detection.described import Described, Object, reading

_LARGEST = 2**29  # bytes of a file; that of COCO's training set has 470 MB

Kind = TypeVar("Kind")


@dataclasses.dataclass(frozen=True)
class _Image:
    id: int
    file_name: str
    height: int
    width: int


@dataclasses.dataclass(frozen=True)
class _Annotation:
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    iscrowd: bool | int = 0
    difficult: bool | int = 0


@dataclasses.dataclass(frozen=True)
class _Category:
    id: int
    name: str


def read_coco(path: Path, folders: Sequence[Path]) -> Iterator[Described]:
    """Yield the photographs of a file, in its order. Crowds are marked as difficult.

    Args:
      path: the JSON file. Its boxes are [x, y, width, height].
      folders: folders of the photographs, of which the first that has a file counts.

    Raises:
      UserError: the file can't be read, or has other content.
    """
    with reading(path):
        content = schema.check(schema.parse(files.read(path, _LARGEST)), dict[str, Any])
        images = _list(content, "images", _Image)
        names = {category.id: category.name for category in _list(content, "categories", _Category)}
        objects: dict[int, list[Object]] = {image.id: [] for image in images}
        for each in _list(content, "annotations", _Annotation):
            if each.image_id not in objects:
                raise ValueError(f"an annotation belongs to image {each.image_id}, which is not listed")
            x, y, width, height = each.bbox
            box = (x, y, x + width, y + height)
            difficult = bool(each.iscrowd or each.difficult)
            objects[each.image_id].append(Object(names.get(each.category_id), box, difficult))
    for image in images:
        candidates = [folder / image.file_name for folder in folders]
        file = next((each for each in candidates if each.is_file()), candidates[0])
        yield Described(str(file), (image.height, image.width), tuple(objects[image.id]))


def _list(content: dict[str, Any], key: str, kind: type[Kind]) -> list[Kind]:
    """Return a list of the file, with those fields of its items that are used."""
    items = schema.check(content.get(key), list[dict[str, Any]], key)
    known = kind.__dataclass_fields__  # type: ignore[attr-defined]
    return [schema.check({k: v for k, v in item.items() if k in known}, kind, key) for item in items]
