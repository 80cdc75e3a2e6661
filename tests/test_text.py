"""Numbers and tables as text."""

import pytest

from alexnet_jax.text import aligned, markdown, size_in_words


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (999_900, "1 MB"), (25_000_000, "25 MB"),
        (999.7e6, "1 GB"), (3.2e12, "3.2 TB"), (4e15, "4,000 TB"),
    ],
)  # fmt: skip
def test_sizes_in_words(count, words):
    assert size_in_words(count) == words


def test_columns_of_numbers_are_aligned_to_the_right():
    rows = [("layer", "kernel", "parameters"), ("conv1", "11x11", "34,944"), ("in all", "", "60,965,224")]
    assert aligned(rows).splitlines() == [
        "layer   kernel  parameters",
        "conv1    11x11      34,944",
        "in all          60,965,224",
    ]


def test_a_bar_in_a_markdown_cell_is_escaped():
    assert markdown([("a", "b"), ("x|y", "2")]).splitlines() == ["| a | b |", "|---|---|", "| x\\|y | 2 |"]
