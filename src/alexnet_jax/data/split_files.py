"""Find the files of a pattern, and the split of each by its name."""

import glob
import math
import os
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import braceexpand

from alexnet_jax import files
from alexnet_jax.data.source import SPLIT_WORDS, words_like_splits
from alexnet_jax.errors import UserError
from alexnet_jax.text import first_of

_MAGIC = re.compile(r"[*?\[{]")
_RANGE = re.compile(r"(-?\d+|[A-Za-z])\.\.(-?\d+|[A-Za-z])(?:\.\.(-?\d+))?")
_MOST = 10**6  # alternatives in braces


def identity(pattern: str) -> str:
    """Return the name that identifies a pattern from any working directory."""
    fixed, rest = _fixed(pattern)
    return str(fixed / rest) if rest else str(fixed)


def name_of(pattern: str) -> str:
    """Return the last name of a pattern."""
    return Path(identity(pattern)).name


def split_files(pattern: str, suffix: str) -> dict[str | None, list[Path]]:
    """Return the files of a pattern by split, in order.

    The split is a word of `SPLIT_WORDS` in the name of the file, or else in that of the nearest folder below
    the fixed part of the pattern. If no file names a split, the only key is None.

    Args:
      pattern: a file, a folder, or names with ``*``, ``?``, ``[abc]``, ``{a,b}`` or ``{000..099}``. A folder
        stands for the files in it, at any depth.
      suffix: suffix of files in a folder, such as ``.tar``.

    Raises:
      UserError: a file is missing, or its split is ambiguous.
    """
    fixed, rest = _fixed(pattern)
    if not rest and fixed.is_dir():
        found = _below(fixed, suffix)
        nothing = f"{fixed} has no {suffix} files"
    elif not rest:
        found = [fixed] if fixed.is_file() else []
        fixed, nothing = fixed.parent, f"{fixed} does not exist"
    else:
        found, nothing = _matches(fixed, rest), f"no file matches {fixed / rest}"
    if not found:
        raise UserError(f"config.data.source: {nothing}: name a file, a folder, or a pattern in quotes")
    by_split: dict[str | None, list[Path]] = defaultdict(list)
    for path in found:
        by_split[_split(path, fixed)].append(path)
    if None in by_split and len(by_split) > 1:
        raise UserError(
            f"config.data.source: the name of {by_split[None][0]} has no split, but those of other files do:"
            " rename it to contain train, val or test, or give a pattern without it"
        )
    if set(by_split) == {None}:
        _refuse_other_splits(found, fixed)
    return {split: by_split[split] for split in (None, "train", "validation", "test") if split in by_split}


def split_words(name: str) -> list[str]:
    """Return the sorted words of `SPLIT_WORDS` in the name of a file or a folder."""
    return sorted({word for word in re.findall("[a-z]+", name.lower()) if word in SPLIT_WORDS})


def _fixed(pattern: str) -> tuple[Path, str]:
    """Return the folder in which the pattern begins, and the rest, which is empty for an existing path."""
    path = Path(files.absolute(pattern))
    if os.path.exists(path) or not _MAGIC.search(pattern):  # noqa: PTH110 (a pattern may be too long for a name)
        return path, ""
    parts = Path(files.expanded(pattern)).parts
    first = next((i for i, part in enumerate(parts) if _MAGIC.search(part)), len(parts) - 1)
    return Path(files.absolute(Path(*parts[:first]))), str(Path(*parts[first:]))


def _below(folder: Path, suffix: str) -> list[Path]:
    """Return the sorted files below a folder, without hidden ones. Links to folders are followed.

    Raises:
      UserError: a folder can't be read, or several paths lead to it.
    """
    found: list[Path] = []
    seen = {str(parent): str(parent) for parent in Path(os.path.realpath(folder)).parents}
    for directory, folders, names in os.walk(folder, onerror=_refuse_folder, followlinks=True):
        real = os.path.realpath(directory)
        if real in seen:
            raise UserError(
                f"config.data.source: {directory} is the same folder as {seen[real]}: remove one of them"
            )
        seen[real] = directory
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(directory, x) for x in names if x.lower().endswith(suffix) and not x.startswith(".")]
    return sorted(found)


def _refuse_folder(error: OSError) -> NoReturn:
    raise UserError(f"config.data.source: {error.filename} can't be read: {error.strerror}") from error


def _matches(fixed: Path, rest: str) -> list[Path]:
    """Return the files of a pattern, those of each alternative in braces sorted."""
    try:
        if _alternatives(rest) > _MOST:  # `braceexpand` would take all memory
            raise UserError(
                f"config.data.source: the braces of {rest} have more than {_MOST:,} alternatives: use * for"
                " them"
            )
        alternatives = list(braceexpand.braceexpand(rest))
    except ValueError as error:
        raise UserError(f"config.data.source: the braces of {rest} do not match") from error
    found: list[Path] = []
    missing = []
    for alternative in alternatives:
        if glob.has_magic(alternative):
            names = sorted(glob.glob(alternative, root_dir=fixed, recursive=True))  # noqa: PTH207
        else:
            names = [alternative]
        existing = [fixed / name for name in names if (fixed / name).is_file()]
        missing += [] if existing else [alternative]
        found += existing
    if missing and found:
        raise UserError(
            f"config.data.source: {len(missing):,} of the {len(alternatives):,} names in {fixed / rest} do"
            f" not exist: {first_of(missing)}"
        )
    return list(dict.fromkeys(found))


def _refuse_other_splits(paths: Sequence[Path], fixed: Path) -> None:
    """Refuse files whose names may tell different splits, in words that are not known."""
    words = {name: words_like_splits(name) for name in (str(path.relative_to(fixed)) for path in paths)}
    if len(set(map(tuple, words.values()))) > 1:
        like = first_of([name for name in words if words[name]])
        raise UserError(
            f"config.data.source: {fixed} has {like}: if these names mean splits, rename the files to contain"
            " train, val or test as a word, as in train-0; otherwise rename them without such words"
        )


def _alternatives(pattern: str) -> int:
    """Return the number of alternatives of the braces in a pattern."""

    def product(text: str) -> int:
        return math.prod(map(int, re.findall("\0(\\d+)", text)))

    def as_number(group: re.Match[str]) -> str:
        if limits := _RANGE.fullmatch(group[1]):
            first, last = (int(x) if len(x) > 1 or x.isdigit() else ord(x) for x in limits.group(1, 2))
            count = abs(last - first) // (abs(int(limits[3] or 1)) or 1) + 1
        else:
            count = sum(map(product, group[1].split(",")))
        return f"\0{min(count, _MOST + 1)}\1"

    while (shorter := re.sub(r"\{([^{}]*)\}", as_number, pattern)) != pattern:  # the innermost groups
        pattern = shorter
    return product(pattern)


def _split(path: Path, fixed: Path) -> str | None:
    for part in reversed(path.relative_to(fixed).parts):
        named = split_words(part)
        if len({SPLIT_WORDS[word] for word in named}) > 1:
            raise UserError(
                f"config.data.source: the split of {path} is ambiguous, because {part} contains"
                f" {' and '.join(named)}: rename it"
            )
        if named:
            return SPLIT_WORDS[named[0]]
    return None
