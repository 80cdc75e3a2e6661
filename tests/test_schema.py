"""What is read from a file has the type that it is declared with, and any other content is one line."""

import dataclasses
import json
from typing import Annotated, Any, Literal, TypedDict

import pytest

from alexnet_jax.schema import LARGEST, FileName, Rule, check, parse, read_json


@dataclasses.dataclass(frozen=True)
class Point:
    x: float
    name: str = "origin"


class Record(TypedDict):
    points: tuple[Point, ...]
    pair: tuple[int, bool]
    kind: Literal["a", "b"]
    size: Annotated[int, Rule("positive", lambda x: x > 0)] | None
    by_name: dict[FileName, list[Any]]


RIGHT = {
    "points": [{"x": 1}, {"x": 0.5, "name": "p"}],
    "pair": [1, True],
    "kind": "a",
    "size": None,
    "by_name": {},
}


def test_a_value_of_the_type_is_returned():
    found = check(RIGHT | {"size": 3, "by_name": {"f": [1, "a"]}}, Record)
    assert found == {
        "points": (Point(1), Point(0.5, "p")),
        "pair": (1, True),
        "kind": "a",
        "size": 3,
        "by_name": {"f": [1, "a"]},
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": None}, "points is None, but must be a list"),
        ({"points": [{}]}, r"points\.0\.x is missing"),
        ({"points": [{"x": "1"}]}, r"points\.0\.x is 1, but must be a number"),
        ({"points": [{"x": True}]}, "must be a number"),
        ({"points": [{"x": 10**400}]}, r"points\.0\.x is a number of more than 20 digits"),
        ({"points": [{"x": float("inf")}]}, "must be finite"),
        ({"points": [{"x": 1, "y": 1}]}, r"points\.0\.y is not known"),
        ({"points": [{"x": 1, "name": "a\0"}]}, "text without NUL"),
        ({"pair": [1]}, "pair is a list of 1, but must be a list of 2"),
        ({"pair": [True, True]}, r"pair\.0 is True, but must be a whole number"),
        ({"pair": [1.0, True]}, "must be a whole number"),
        ({"kind": "c"}, "kind is c, but must be a or b"),
        ({"kind": ["a"]}, "kind is a list of 1, but must be a or b"),
        ({"size": 0}, "size is 0, but must be positive"),
        ({"by_name": {"../x": []}}, "by_name.a key is ../x, but must be the name of a file"),
        ({"by_name": []}, "by_name is a list of 0, but must be an object"),
        ({"other": 1}, "other is not known"),
        ({"kind": "c" * 10**6}, "kind is c{60}[.]{3}, but must be a or b$"),
    ],
)
def test_another_value_is_refused_with_its_place(change, message):
    with pytest.raises(ValueError, match=message):
        check(RIGHT | change, Record)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("NaN", "it has the number NaN"),
        ('{"a": -Infinity}', "it has the number -Infinity"),
        ("[" * 17 + "]" * 17, "nested more than 16 levels"),
        ("[" * 10**6, "nested too deeply|Expecting value"),
        ("9" * 5000, "digits"),
        ("{", "Expecting"),
        ("", "Expecting"),
        (b"\xff", "codec"),
    ],
)
def test_text_that_is_no_plain_json_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse(text)


def test_a_file_is_named_and_a_large_one_is_not_read(tmp_path):
    (tmp_path / "f.json").write_text(json.dumps([1]))
    assert read_json(tmp_path / "f.json", list[int]) == [1]
    with pytest.raises(ValueError, match=r"f\.json: 0 is 1, but must be text"):
        read_json(tmp_path / "f.json", list[str])
    with (tmp_path / "f.json").open("wb") as file:
        file.truncate(10**10)
    with pytest.raises(ValueError, match=rf"f\.json has 10,000,000,000 bytes, more than {LARGEST:,}"):
        read_json(tmp_path / "f.json", list[int])
