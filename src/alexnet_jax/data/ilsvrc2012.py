"""The source ``ilsvrc2012:DIR``: the archives of ImageNet as image-net.org ships them.

    ILSVRC2012_img_train.tar         1,000 archives nXXXXXXXX.tar, each with the images of a class
    ILSVRC2012_img_val.tar           ILSVRC2012_val_00000001.JPEG to ILSVRC2012_val_00050000.JPEG
    ILSVRC2012_devkit_t12.tar.gz     the numbers of their classes, and the WordNet id of each number

Images are read from where they lie in the archives. The classes are in the order of their WordNet ids, as in
TFDS.
"""

import json
import re
import subprocess
import sys
import tarfile
import zlib
from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import TypeAlias

import numpy as np

from alexnet_jax import files
from alexnet_jax.data import tars
from alexnet_jax.data.images import SUFFIXES, missing_decoder
from alexnet_jax.data.listed import stamp, version
from alexnet_jax.data.source import Source, Split
from alexnet_jax.errors import UserError

SIZES = (1_281_167, True)
"""Number of training images in the complete archives, and that validation images exist."""

_TRAIN, _VALIDATION = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"
_DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"
_LABELS, _META = (
    f"ILSVRC2012_devkit_t12/data/{name}" for name in ("ILSVRC2012_validation_ground_truth.txt", "meta.mat")
)
_LARGEST = 10**8  # bytes of a file of the development kit
_LONGEST = 60  # seconds that SciPy may take

_Found: TypeAlias = dict[str, dict[str, tuple[int, int]]]
"""The offset and the size of each image, by class and name."""


def open_ilsvrc2012(path: str) -> Source:
    """Open the archives of ILSVRC-2012, which may hold fewer classes.

    Args:
      path: folder with the archives. The one for validation may be missing, and then the development kit too.

    Raises:
      UserError: an archive is missing, damaged or cut off, or has other content.
    """
    folder = Path(files.absolute(path))
    archives = [folder / name for name in (_TRAIN, _VALIDATION) if (folder / name).is_file()]
    if folder / _TRAIN not in archives:
        raise UserError(
            f"config.data.source: {folder} has no {_TRAIN}: put it there, with {_VALIDATION} and {_DEVKIT}"
            " (from image-net.org, with an account)"
        )
    left_out: dict[str, list[str]] = defaultdict(list)
    found = [_train(archives[0], left_out)]
    class_names = tuple(sorted(found[0]))
    if len(class_names) < 2:
        raise UserError(
            f"config.data.source: {archives[0]} must hold archives nXXXXXXXX.tar with images, one for each"
            f" class, but it has {len(class_names)} of them"
        )
    if len(archives) > 1:
        found.append(_validation(archives[1], _labels(folder / _DEVKIT), set(class_names), left_out))
    names, labels, numbers, places, sizes = [], [], [], [], []
    for number, images_by_class in enumerate(found):
        for label, class_name in enumerate(class_names):
            for name, (offset, size) in sorted(images_by_class.get(class_name, {}).items()):
                names.append(name)
                labels.append(label)
                numbers.append(number)
                places.append(offset)
                sizes.append(size)
    arrays = np.array(labels, np.int32), np.array(numbers, np.int8), np.array(places), np.array(sizes)
    read = tars.Images([str(archive) for archive in archives], names, *arrays)
    splits = {
        split: Split(read, rows, arrays[0])
        for number, split in enumerate(("train", "validation"))
        if len(rows := np.flatnonzero(arrays[1] == number))
    }
    changes = version([f"{class_names[x]}/{y}" for x, y in zip(labels, names, strict=True)], sizes)
    return Source(
        "ilsvrc2012", changes, class_names, splits, None, stamp(path.stat() for path in archives), left_out
    )


def _train(path: Path, left_out: dict[str, list[str]]) -> _Found:
    found: _Found = defaultdict(dict)
    with tars.open_archive(path) as file:
        for archive in tars.members(file):
            inside = re.fullmatch(r"(?:\./)?(n\d{8})\.tar", archive.name)
            if inside is None or not archive.isreg():
                if not archive.isdir():
                    left_out[f"members of {_TRAIN} that are not archives nXXXXXXXX.tar"].append(archive.name)
                continue
            for image in tars.members(file, archive.offset_data, archive.offset_data + archive.size):
                _add(image, found[inside[1]], left_out, f"{archive.name}: ")
    return {name: images for name, images in found.items() if images}


def _validation(
    path: Path, labels: list[str], class_names: set[str], left_out: dict[str, list[str]]
) -> _Found:
    """Find the validation images. ``labels`` are their classes, in the order of their numbers."""
    images: dict[str, tuple[int, int]] = {}
    with tars.open_archive(path) as file:
        for image in tars.members(file):
            _add(image, images, left_out, f"{_VALIDATION}: ")
    found: _Found = defaultdict(dict)
    for name, place in images.items():
        numbered = re.fullmatch(r"ILSVRC2012_val_(\d{8})\.JPEG", name)
        if numbered is None or not 1 <= int(numbered[1]) <= len(labels):
            left_out[f"validation images for which {_DEVKIT} has no label"].append(name)
        elif (class_name := labels[int(numbered[1]) - 1]) not in class_names:
            left_out["validation images of classes without training images"].append(name)
        else:
            found[class_name][name] = place
    return found


def _add(
    member: tarfile.TarInfo, images: dict[str, tuple[int, int]], left_out: dict[str, list[str]], where: str
) -> None:
    """Add a member of an archive to ``images``, or its name to ``left_out``."""
    name = PurePosixPath(member.name).name
    if member.isdir():
        return
    if (reason := tars.problem(member)) is not None:
        left_out[reason].append(where + member.name)
    elif (suffix := PurePosixPath(name).suffix.lower()) not in SUFFIXES:
        left_out["members of archives that are not images"].append(where + member.name)
    elif reason := missing_decoder(suffix):
        left_out[reason].append(where + member.name)
    else:
        if name in images:
            left_out["images of which a later one in the archive has the name"].append(where + member.name)
        images[name] = member.offset_data, member.size


def _labels(path: Path) -> list[str]:
    """Return the WordNet ids of the validation images, in the order of their numbers, from the devkit."""
    if not path.is_file():
        raise UserError(
            f"config.data.source: {path.parent} has {_VALIDATION}, but not its labels: put {path.name} from"
            f" image-net.org beside it, or move {_VALIDATION} away"
        )
    try:
        with tarfile.open(path, "r:gz") as archive:
            numbers, meta = (_content(archive, name) for name in (_LABELS, _META))
        ids = _ids(meta)
        truth = [int(line) for line in numbers.split()]
    except (tarfile.TarError, OSError, EOFError, RecursionError, zlib.error, ValueError) as error:
        if files.failure(error):
            raise
        raise UserError(f"config.data.source: {path} is damaged: {error}: copy it again") from error
    if strange := sorted(set(truth) - set(ids)):
        raise UserError(
            f"config.data.source: {path}: {_LABELS} has the label {strange[0]}, which {_META} does not have"
        )
    return [ids[number] for number in truth]


_READ_IDS = """
import io, json, sys
import numpy, scipy.io
synsets = scipy.io.loadmat(io.BytesIO(sys.stdin.buffer.read()), squeeze_me=True)["synsets"]
json.dump([(int(s["ILSVRC2012_ID"]), str(s["WNID"])) for s in numpy.atleast_1d(synsets)], sys.stdout)
"""


def _ids(meta: bytes) -> dict[int, str]:
    """Return the WordNet id of each number. SciPy, which damaged files can crash, gets its own process."""
    command = [sys.executable, "-P", "-c", _READ_IDS]
    try:
        done = subprocess.run(command, input=meta, capture_output=True, check=True, timeout=_LONGEST)
    except subprocess.SubprocessError as error:
        raise ValueError(f"{_META} has no table of synsets") from error
    return dict(json.loads(done.stdout))


def _content(archive: tarfile.TarFile, name: str) -> bytes:
    try:
        file = archive.extractfile(name)
    except KeyError:
        file = None
    if file is None:
        raise ValueError(f"it has no {name}")
    content = file.read(_LARGEST)
    if file.read(1):
        raise ValueError(f"{name} has more than {_LARGEST:,} bytes")
    return content
