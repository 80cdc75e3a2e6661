"""Text for terminals and pages: names from outside, sizes, times, and tables."""

import re
from collections.abc import Sequence

# Controls, invisible characters, changes of direction, bytes that are not UTF-8, and what XML forbids.
# The joiners U+200C and U+200D stay: names in Persian, in Hindi and with emoji need them.
_UNSEEN = re.compile(
    "[\0-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff"
    "\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f]"
)


def visible(line: str) -> str:
    r"""Make a line safe to print: characters that control a terminal become visible, such as ``\x1b``.

    Names of files and classes may come from anyone. A newline in them becomes ``\n``.
    """
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), line)


def visible_lines(text: str) -> str:
    """Make each line of a text `visible`."""
    return "\n".join(map(visible, text.split("\n")))


def first_of(names: Sequence[str], most: int = 3) -> str:
    """Format the first names of many, such as ``a, b, c, ...``."""
    return ", ".join([*names[:most], "..."] if len(names) > most else names)


def size_in_words(count: float) -> str:
    """Format a number of bytes, such as ``1.5 GB`` (1 GB is 10^9 bytes)."""
    return f"{with_prefix(count)}B"


def with_prefix(number: float) -> str:
    """Format a number that is not negative for a unit, such as ``1.5 G`` for 1.5e9."""
    for prefix in ("", "k", "M", "G", "T", "P"):
        if number < 999.5:  # below 1000 after rounding
            return f"{number:.3g} {prefix}"
        number /= 1000
    return f"{1000 * number:,.0f} P"


def ranges(numbers: Sequence[int]) -> str:
    """Format ascending integers in SLURM's notation for job arrays, such as ``0-3,5``."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][-1] + 1:
            found[-1].append(number)
        else:
            found.append([number])
    return ",".join(str(each[0]) if len(each) == 1 else f"{each[0]}-{each[-1]}" for each in found)


def time_in_words(seconds: float) -> str:
    """Format a time with its two largest units, such as ``7m 12s``; times below a minute as ``4.2s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes}m"
    return f"{minutes}m {rest}s" if minutes else f"{seconds:.1f}s"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Format a table as text. Columns of names are aligned to the left, columns of numbers to the right."""
    rows = [list(map(visible, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    right = [any(row[i][:1].isdigit() for row in rows[1:]) and i >= 1 for i in range(len(widths))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in rows
    )


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Format a table as Markdown. The first row is the header."""
    head, *body = [
        f"| {' | '.join(visible(cell).replace('|', chr(92) + '|') for cell in row)} |" for row in rows
    ]
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])
