"""Labeled Faces in the Wild as it is published: folders of images, pairs in folds, and lists of people.

An image is ``NAME/NAME_0001.jpg``. The lists lie beside the folder of images, or in it. The format of
``pairs.txt``, ``pairsDevTest.txt`` and ``people.txt`` is described in the data set's README.txt.
"""

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

from alexnet_jax import files
from alexnet_jax.errors import UserError, reason

_LARGEST = 10**7  # bytes of a list
_PAIR = {True: "NAME NUMBER NUMBER", False: "NAME NUMBER NAME NUMBER"}


class Face(NamedTuple):
    """An image: the name of the person, and the number of the image, from 1 on."""

    person: str
    number: int

    @property
    def path(self) -> str:
        """The path in the folder of images."""
        return f"{self.person}/{self.person}_{self.number:04}.jpg"


class Pair(NamedTuple):
    """Two images, of the same person or of two."""

    first: Face
    second: Face

    @property
    def same(self) -> bool:
        """Whether both show the same person."""
        return self.first.person == self.second.person


Fold: TypeAlias = tuple[Pair, ...]


def list_path(folder: str | os.PathLike[str], name: str | os.PathLike[str]) -> Path:
    """Return the path of a list: in the folder of LFW, or, if it is not there, as it is named."""
    outside = Path(files.expanded(os.fspath(name)))
    inside = Path(files.expanded(os.fspath(folder)), outside)
    return outside if outside.exists() and not inside.exists() else inside


def read_pairs(path: str | os.PathLike[str]) -> tuple[Fold, ...]:
    """Read the folds of a list of pairs.

    Its first line has the number of folds and the number N of matched pairs in each, or N alone for one fold.
    Each fold has N lines with a matched pair, and then N lines with a mismatched one.

    Raises:
      UserError: the list can't be read, a line is malformed, the number of pairs is not that of the first
        line, or a person is in several folds.
    """
    head, *lines = _lines(path)
    numbers = [int(word) for word in head.split() if word.isdecimal()]
    if len(numbers) != len(head.split()) or len(numbers) not in (1, 2) or min(numbers) < 1:
        raise UserError(
            f"the first line of {path} is {head!r}, but must have the number of folds and the number of"
            " matched pairs in each, such as 10 300, or only the latter"
        )
    folds, matched = numbers if len(numbers) == 2 else (1, *numbers)
    if len(lines) != folds * 2 * matched:
        raise UserError(
            f"{path} has {len(lines):,} pairs, but its first line, {head!r}, means {folds} folds of"
            f" {matched:,} matched and {matched:,} mismatched pairs, {folds * 2 * matched:,} in all: download"
            " it again"
        )
    pairs = [_pair(line, i, path, i % (2 * matched) < matched) for i, line in enumerate(lines)]
    found = tuple(tuple(pairs[i : i + 2 * matched]) for i in range(0, len(pairs), 2 * matched))
    check_disjoint(found, str(path))
    return found


def check_disjoint(folds: Sequence[Fold], where: str) -> None:
    """Check that folds share no people: what is learned on some of them is tested on another one.

    Raises:
      UserError: a person is in several of them. The message counts such people, and names the first one.
    """
    seen: set[str] = set()
    shared: set[str] = set()
    for people in map(people_of, folds):
        shared |= seen & people
        seen |= people
    if shared:
        raise UserError(
            f"{len(shared):,} of the {len(seen):,} people in {where} are in several folds (the first is"
            f" {min(shared)}), so the threshold would be learned on people of the test: take another list"
        )


def people_of(pairs: Iterable[Pair]) -> set[str]:
    """Return the names of the people in pairs."""
    return {face.person for pair in pairs for face in pair}


def read_people(path: str | os.PathLike[str]) -> dict[str, int]:
    """Read a list of people, with the number of images of each. Several sets become one.

    Raises:
      UserError: the list can't be read, a line is malformed, or it has no people.
    """
    found: dict[str, int] = {}
    for number, line in enumerate(_lines(path), start=1):
        name, *count = line.split()
        if not count and name.isdecimal():  # the number of sets, or of people in a set
            continue
        if len(count) != 1 or not count[0].isdecimal():
            raise UserError(f"line {number} of {path} is {line!r}, but must be NAME NUMBER")
        found[name] = int(count[0])
    if not found:
        raise UserError(f"{path} lists no people")
    return found


def image_folder(folder: str | os.PathLike[str], people: Collection[str]) -> Path:
    """Return the folder that has a folder for each person: the given one, or one in it.

    Raises:
      UserError: there is none, or several of them have the same people.
    """
    root = Path(files.absolute(folder))
    try:
        inside = sorted(path for path in root.iterdir() if path.is_dir())
        count = {path: len({*people} & {*os.listdir(path)}) for path in (root, *inside)}  # noqa: PTH208
    except OSError as error:
        raise UserError(f"{error.filename} can't be read: {error.strerror}") from error
    most = max(count.values())
    best = [path for path in count if count[path] == most]
    if not most:
        raise UserError(
            f"{root} has no folders of people, such as {min(people)}: set --lfw=DIR to the folder that has"
            " pairs.txt and the folder of the images"
        )
    if len(best) > 1:
        raise UserError(
            f"{best[0]} and {best[1]} have images of the same people: move one of them out of {root}"
        )
    return best[0]


def check_images(folder: Path, faces: Collection[Face], where: str) -> None:
    """Check that images exist.

    Raises:
      UserError: some do not. The message counts the people and the images, and names the first one.
    """
    there = {*os.listdir(folder)}  # noqa: PTH208
    people = {face.person for face in faces}
    missing = sorted(face for face in faces if face.person in there and not (folder / face.path).is_file())
    if nobody := sorted(people - there):
        raise UserError(
            f"{len(nobody):,} of the {len(people):,} people in {where} have no folder in {folder} (the first"
            f" is {nobody[0]}): unpack all images of LFW"
        )
    if missing:
        raise UserError(
            f"{len(missing):,} of the {len(faces):,} images in {where} are not in {folder} (the first is"
            f" {missing[0].path}): unpack all images of LFW"
        )


def all_faces(folder: Path, people: Iterable[str], least: int) -> list[Face]:
    """Return all images of the people that have enough of them, sorted.

    The images of a person are numbered from 1 on without a gap.

    Args:
      folder: the folder from `image_folder`.
      people: names of the people.
      least: number of images that a person needs.
    """
    found = []
    for person in sorted(people):
        faces = [Face(person, 1)]
        while (folder / faces[-1].path).is_file():
            faces.append(Face(person, len(faces) + 1))
        if len(faces) > least:  # the last one does not exist
            found += faces[:-1]
    return found


def _lines(path: str | os.PathLike[str]) -> list[str]:
    """Read the lines of a list that are not empty."""
    try:
        lines = files.read(files.absolute(path), _LARGEST).decode("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:  # ValueError: also text that is not UTF-8
        raise UserError(f"{path} can't be read: {reason(error)}") from error
    if not (lines := [line for line in lines if line.strip()]):
        raise UserError(f"{path} is empty")
    return lines


def _pair(line: str, i: int, path: str | os.PathLike[str], matched: bool) -> Pair:
    """Parse a line with a pair."""
    words = line.split()
    kinds: tuple[Callable[[str], object], ...] = (str, int, int) if matched else (str, int, str, int)
    numbers = [word for word, kind in zip(words, kinds, strict=False) if kind is int]
    if len(words) == len(kinds) and all(word.isdecimal() and int(word) >= 1 for word in numbers):
        other = words[0] if matched else words[2]
        pair = Pair(Face(words[0], int(numbers[0])), Face(other, int(numbers[1])))
        if pair.same == matched and pair.first != pair.second:
            return pair
    what = "of two images of a person" if matched else "of images of two people"
    raise UserError(f"pair {i + 1:,} of {path} is {line!r}, but must be a line {_PAIR[matched]} {what}")
