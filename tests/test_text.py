"""Names, numbers and tables as text."""

from xml.etree import ElementTree
from xml.sax.saxutils import escape

import pytest

from alexnet_jax.text import (
    aligned,
    first_of,
    markdown,
    ranges,
    size_in_words,
    time_in_words,
    visible,
    visible_lines,
    with_prefix,
)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("n01440764 tench, Tinca tinca", "n01440764 tench, Tinca tinca"),
        ("Füchse 狐 \N{FOX FACE}\N{ZERO WIDTH JOINER}می\N{ZERO WIDTH NON-JOINER}خواهم", None),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("two\nlines\r\x85\N{LINE SEPARATOR}", r"two\nlines\r\x85\u2028"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe", r"\u202egpj.exe"),
        ("not UTF-8 \udcff", r"not UTF-8 \udcff"),
        ("\0\x7f\x9b\ufeff\ufffe\U000e0041", r"\x00\x7f\x9b\ufeff\ufffe\U000e0041"),
    ],
)
def test_what_controls_a_terminal_becomes_visible(name, shown):
    assert visible(name) == (name if shown is None else shown)


def test_visible_text_is_always_xml_and_can_be_encoded():
    every = "".join(map(chr, range(0x110000)))
    text = visible(every)
    assert ElementTree.fromstring(f"<a>{escape(text)}</a>").text == text


def test_the_lines_of_a_text_remain():
    assert visible_lines("one\x1b\ntwo\r\n") == "one\\x1b\ntwo\\r\n"


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (999_900, "1 MB"), (25_000_000, "25 MB"),
        (999.7e6, "1 GB"), (3.2e12, "3.2 TB"), (4e15, "4 PB"), (4e18, "4,000 PB"),
    ],
)  # fmt: skip
def test_sizes_in_words(count, words):
    assert size_in_words(count) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0 "), (999.4, "999 "), (999.6, "1 k"), (1.5e9, "1.5 G"), (2e14, "200 T"), (3.2e15, "3.2 P")],
)
def test_numbers_with_a_prefix(number, words):
    assert with_prefix(number) == words


@pytest.mark.parametrize(("numbers", "words"), [([], ""), ([7], "7"), ([0, 1, 2, 5, 7, 8], "0-2,5,7-8")])
def test_ranges(numbers, words):
    assert ranges(numbers) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0.0s"), (4.16, "4.2s"), (59.4, "59.4s"), (59.96, "1m 0s"), (432.4, "7m 12s"),
        (7260, "2h 1m"), (183_600, "2d 3h"),
    ],
)  # fmt: skip
def test_times_in_words(seconds, words):
    assert time_in_words(seconds) == words


def test_columns_of_numbers_are_aligned_to_the_right():
    rows = [("layer", "kernel", "parameters"), ("conv1", "11x11", "34,944"), ("in all", "", "60,965,224")]
    assert aligned(rows).splitlines() == [
        "layer   kernel  parameters",
        "conv1    11x11      34,944",
        "in all          60,965,224",
    ]


def test_a_cell_is_one_line():
    assert aligned([("a", "b"), ("x\ny\x1b", "2")]).splitlines() == ["a         b", r"x\ny\x1b  2"]
    assert markdown([("a", "b"), ("x\ny\x1b", "2")]).splitlines()[2] == r"| x\ny\x1b | 2 |"


def test_a_bar_in_a_markdown_cell_is_escaped():
    assert markdown([("a", "b"), ("x|y", "2")]).splitlines() == ["| a | b |", "|---|---|", "| x\\|y | 2 |"]


def test_the_first_names_of_many():
    assert first_of([]) == ""
    assert first_of(list("abc")) == "a, b, c"
    assert first_of(list("abcd")) == "a, b, c, ..."
