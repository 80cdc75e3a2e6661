"""The check of everything that is read from a workdir, a sweep's directory or a cache.

Such a directory may be damaged, or come from a stranger. Each of its JSON files has a type, made of
dataclasses, `TypedDict` and the types below, and `check` compares a file with its type:

    config.json       `config.settings` and the classes of `layers`
    data.json         `data.cache.Described`
    manifest.json     `data.cache.Manifest`
    published.json    `data.publish.Published`
    init_from.json    `training.workdir.Start`
    goodput.json      `training.goodput.Times`
    sweep.json        `sweep.directory.Record`, with the classes of `sweep.spec`
    evaluation.json   `sweep.directory.Evaluation`
"""

import collections.abc
import contextlib
import dataclasses
import json
import os
import sys
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Annotated, Any, Literal, TypeAlias

from alexnet_jax import files

_Where: TypeAlias = tuple[object, ...]  # the keys and positions that lead to a value
_NAMES = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null"}
_DEEPEST = 16  # levels of nested JSON
LARGEST = 2**24
"""Largest size of a JSON file in bytes."""


@dataclasses.dataclass(frozen=True)
class Rule:
    """The values that a field may have.

    Attributes:
      meaning: the end of the sentence "it must be ...".
      holds: function that returns whether a value is one of them.
    """

    meaning: str
    holds: Callable[[Any], bool]


Count: TypeAlias = Annotated[int, Rule("a whole number from 0 to 2**53", lambda x: 0 <= x <= 2**53)]
Positive: TypeAlias = Annotated[int, Rule("a whole number from 1 to 2**53", lambda x: 0 < x <= 2**53)]
Checksum: TypeAlias = Annotated[int, Rule("a CRC-32", lambda x: 0 <= x < 2**32)]
Fraction: TypeAlias = Annotated[float, Rule("from 0 to 1", lambda x: 0 <= x <= 1)]
Views: TypeAlias = Literal[1, 10]
Split: TypeAlias = Literal["train", "validation", "test"]
FileName: TypeAlias = Annotated[
    str, Rule("the name of a file", lambda x: x not in ("", ".", "..") and "/" not in x and len(x) < 256)
]


def plain(value: Any) -> Any:
    """Return a value with Python's numbers and lists instead of NumPy's, also in tuples, lists and dicts."""
    numpy = sys.modules.get("numpy")  # whoever has such a value has imported it
    if numpy is not None and isinstance(value, numpy.generic | numpy.ndarray):
        return value.tolist()
    if type(value) in (tuple, list):
        return type(value)(map(plain, value))
    return {key: plain(each) for key, each in value.items()} if type(value) is dict else value


def read_json(path: os.PathLike[str], kind: Any, checksums: Mapping[str, int] | None = None) -> Any:
    """Read a JSON file and `check` its content.

    Args:
      path: path of the file.
      kind: type of its content, see `check`.
      checksums: CRC-32 of each file, by name; None if it has no checksum.

    Raises:
      ValueError: the content is not JSON, not of this type, or its checksum differs. The message names the
        file.
      OSError: the file can't be read.
    """
    content = files.read(path, LARGEST) if checksums is None else files.checked(path, LARGEST, checksums)
    try:
        return check(parse(content), kind)
    except ValueError as error:
        raise ValueError(f"{PurePath(path).name}: {error}") from error


def parse(text: bytes | str) -> Any:
    """Parse JSON as its standard defines it: without NaN and Infinity, and not nested deeply.

    Raises:
      ValueError: the text is not such JSON.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > _DEEPEST:
            raise ValueError(f"it is nested more than {_DEEPEST} levels deep")
        level = [
            x
            for each in level
            if isinstance(each, dict | list)
            for x in (each.values() if isinstance(each, dict) else each)
        ]
    return value


def check(value: Any, kind: Any, where: str = "") -> Any:
    """Compare a value that was parsed from JSON with a type, and return it as a value of this type.

    Args:
      value: the parsed value.
      kind: the type: a dataclass, a `TypedDict`, a tuple, list, dict or Mapping of types, a union, a Literal,
        a type with a `Rule`, Any, or a plain type. A number of type float must be finite.
      where: name of the value, for the message.

    Raises:
      ValueError: the value is not of this type. The message names the first part that differs.
    """
    return _check(value, kind, (where,) if where else ())


def _check(value: Any, kind: Any, where: _Where) -> Any:
    if type(value) is kind and kind in (int, bool, str, type(None)):
        if kind is str and "\0" in value:
            raise _wrong(where, value, "text without NUL characters")
        return value
    if kind is float and type(value) in (int, float):
        if not abs(value) <= sys.float_info.max:
            raise _wrong(where, value, "finite")
        return value
    if kind is Any:
        return value
    if typing.is_typeddict(kind) or dataclasses.is_dataclass(kind):
        return _record(value, kind, where)
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        inner, rule = args
        found = _check(value, inner, where)
        if not rule.holds(found):
            raise _wrong(where, value, rule.meaning)
        return found
    if origin in (typing.Union, types.UnionType):
        return _one_of(value, args, where)
    if origin is Literal and type(value) in (str, int) and value in args:
        return value
    if origin is Literal:
        raise _wrong(where, value, " or ".join(map(str, args)))
    if origin in (tuple, list):
        return _sequence(value, origin, args, where)
    if origin in (dict, collections.abc.Mapping):
        keys, values = args
        return {
            _check(key, keys, (*where, "a key")): _check(each, values, (*where, key))
            for key, each in _object(value, where).items()
        }
    raise _wrong(where, value, _NAMES[kind])


def _one_of(value: Any, kinds: tuple[Any, ...], where: _Where) -> Any:
    if value is None and type(None) in kinds:
        return None
    *others, last = (kind for kind in kinds if kind is not type(None))
    for kind in others:
        with contextlib.suppress(ValueError):
            return _check(value, kind, where)
    return _check(value, last, where)


def _sequence(value: Any, origin: type, args: tuple[Any, ...], where: _Where) -> Any:
    if not isinstance(value, list | tuple):
        raise _wrong(where, value, "a list")
    kinds = [args[0]] * len(value) if origin is list or args[-1] is Ellipsis else list(args)
    if len(value) != len(kinds):
        raise _wrong(where, value, f"a list of {len(kinds)}")
    return origin(_check(x, kinds[i], (*where, i)) for i, x in enumerate(value))


def _record(value: Any, kind: Any, where: _Where) -> Any:
    """Check a dataclass or a `TypedDict`."""
    found = _object(value, where)
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()
    absent = dataclasses.MISSING
    optional = {x.name for x in fields if x.default is not absent or x.default_factory is not absent}
    if unknown := found.keys() - hints.keys():
        raise ValueError(f"{_name((*where, min(unknown)))} is not known")
    if lacking := hints.keys() - optional - found.keys():
        raise ValueError(f"{_name((*where, min(lacking)))} is missing")
    return kind(**{key: _check(each, hints[key], (*where, key)) for key, each in found.items()})


def _object(value: Any, where: _Where) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(where, value, "an object")
    return value


def _wrong(where: _Where, value: Any, meaning: str) -> ValueError:
    return ValueError(f"{_name(where) or 'it'} is {short(value)}, but must be {meaning}")


def _name(where: _Where) -> str:
    return ".".join(map(short, where))


def short(value: object, most: int = 60) -> str:
    """Return the beginning of a value, for a message."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else f"a list of {len(value)}"
    if isinstance(value, int) and abs(value) > 10**20:
        return "a number of more than 20 digits"
    text = str(value)
    return text if len(text) <= most else f"{text[:most]}..."


def _refuse_constant(name: str) -> None:
    raise ValueError(f"it has the number {name}")
