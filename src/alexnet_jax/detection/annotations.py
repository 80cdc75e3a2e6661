"""Annotated photographs: which ones are chosen, and what is wrong with their boxes."""

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from alexnet_jax import files
from alexnet_jax.detection.boxes import areas, clipped
from alexnet_jax.detection.coco import read_coco
from alexnet_jax.detection.described import Described, reading
from alexnet_jax.detection.voc import read_voc
from alexnet_jax.errors import UserError
from alexnet_jax.text import first_of

_LONGEST_LIST = 2**24  # bytes
_COPY = re.compile(r"_(jpe?g|png)\.rf\.\w+$")  # what Roboflow adds to the name of a file


@dataclasses.dataclass(frozen=True, eq=False)
class Photograph:
    """A photograph with the boxes of its objects.

    Attributes:
      name: its id: the name of its file without suffix.
      path: path of its file.
      size: (height, width) in pixels.
      boxes_Nx4: boxes of its objects, float64, as in `boxes`.
      labels_N: index of the class of each object.
      difficult_N: which objects are marked as difficult.
    """

    name: str
    path: str
    size: tuple[int, int]
    boxes_Nx4: np.ndarray
    labels_N: np.ndarray
    difficult_N: np.ndarray


@dataclasses.dataclass(frozen=True)
class Annotated:
    """A set of annotated photographs.

    Attributes:
      photographs: the photographs, by rising id.
      class_names: names of the classes, by label.
      faults: the photographs with a fault in their annotations, by fault: an entry for each box.
    """

    photographs: tuple[Photograph, ...]
    class_names: tuple[str, ...]
    faults: dict[str, list[str]]

    def report(self) -> list[str]:
        """Return a line for each fault, with its count and the first photograph."""
        return [f"{len(names):,} {fault}; the first: {names[0]}" for fault, names in self.faults.items()]


def read_annotations(
    data: Sequence[str],
    images: Sequence[str] = (),
    lists: Sequence[str] = (),
    left_out: Sequence[str] = (),
    class_names: Sequence[str] = (),
) -> Annotated:
    """Read photographs and their boxes.

    Args:
      data: folders such as VOCdevkit/VOC2007, and files of COCO JSON.
      images: folders of the photographs of COCO JSON; by default the folder of the JSON file.
      lists: files whose lines begin with the id of a photograph, or names of lists in the folder
        ``ImageSets/Main`` of PASCAL VOC. Only these photographs are read; by default all.
      left_out: lists of photographs to leave out.
      class_names: the known classes, by label; by default the classes of all objects, sorted.

    Raises:
      UserError: a file is missing or has other content, or no photograph or no object remains.
    """
    wanted, unwanted = (_ids(names, data) for names in (lists, left_out))
    faults: dict[str, list[str]] = {}
    chosen: dict[str, Described] = {}

    def is_chosen(name: str) -> bool:
        return (name in wanted or not lists) and name not in unwanted

    for described in _described(data, images, is_chosen):
        name = photograph_id(described.path)
        if name in chosen:
            _add(faults, "photographs are listed twice, and the first copy counts", name)
        elif not Path(described.path).is_file():
            _add(faults, "photographs are left out because their files are missing", described.path)
        else:
            chosen[name] = described
    for name in sorted(wanted - unwanted - chosen.keys()):
        _add(faults, "photographs of --list are not among those of --data", name)
    if not chosen:
        raise UserError(f"there are no photographs in {first_of(data)}: check --data, --images and --list")
    named = {each.class_name for found in chosen.values() for each in found.objects if each.class_name}
    known = tuple(class_names or sorted(named))
    photographs = tuple(_checked(name, chosen[name], known, faults) for name in sorted(chosen))
    if not any(len(each.labels_N) for each in photographs):
        raise UserError(f"no photograph has an object of the classes {first_of(known)}: check --data")
    return Annotated(photographs, known, faults)


def photograph_id(path: str) -> str:
    """Return the id of a photograph: the name of its file without suffix, and without Roboflow's addition."""
    return _COPY.sub("", Path(path).stem)


def _checked(
    name: str, described: Described, known: Sequence[str], faults: dict[str, list[str]]
) -> Photograph:
    """Return a photograph with those objects that can be used."""
    kept = []
    for each in described.objects:
        whole = np.array(each.box)
        box = clipped(whole, *described.size)
        if each.class_name not in known:
            what = f"{name}, class {each.class_name}" if each.class_name else name
            _add(faults, "objects of unknown classes are left out", what)
        elif not areas(whole):
            _add(faults, "boxes without area are left out", name)
        elif not areas(box):
            _add(faults, "boxes outside of their photographs are left out", name)
        else:
            if (box != whole).any():
                _add(faults, "boxes reach beyond their photographs and are cut off at the edge", name)
            kept.append((box, known.index(each.class_name), each.difficult))
    boxes, labels, difficult = zip(*kept, strict=True) if kept else ((), (), ())
    return Photograph(
        name,
        described.path,
        described.size,
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array(labels, np.intp),
        np.array(difficult, bool),
    )


def _add(faults: dict[str, list[str]], fault: str, name: str) -> None:
    faults.setdefault(fault, []).append(name)


def _described(
    data: Sequence[str], images: Sequence[str], is_chosen: Callable[[str], bool]
) -> Iterator[Described]:
    """Yield the chosen photographs."""
    for each in data:
        path = Path(files.expanded(each))
        if path.is_dir():
            yield from read_voc(path, is_chosen)
        elif path.is_file():
            folders = [Path(files.expanded(folder)) for folder in images] or [path.parent]
            yield from (x for x in read_coco(path, folders) if is_chosen(photograph_id(x.path)))
        else:
            raise UserError(
                f"--data={each} does not exist: name a folder such as VOCdevkit/VOC2007, or a file of COCO"
                " JSON"
            )


def _ids(lists: Iterable[str], data: Sequence[str]) -> set[str]:
    """Return the first word of each line in lists of photographs."""
    ids: set[str] = set()
    for name in lists:
        candidates = [Path(files.expanded(name))]
        candidates += [Path(files.expanded(each)) / "ImageSets" / "Main" / f"{name}.txt" for each in data]
        path = next((each for each in candidates if each.is_file()), None)
        if path is None:
            raise UserError(f"there is no list {name}: name a file, or a list in the folder ImageSets/Main")
        with reading(path):
            lines = files.read(path, _LONGEST_LIST).decode().splitlines()
        ids.update(words[0] for line in lines if (words := line.split()))
    return ids
