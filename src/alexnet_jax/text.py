"""Tables as text, for terminals and for Markdown."""

from collections.abc import Sequence


def size_in_words(count: float) -> str:
    """Format a number of bytes, such as ``1.5 GB`` (1 GB is 10^9 bytes)."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 999.5:  # below 1000 after rounding
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count * 1000:,.0f} TB"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Format a table as text. Columns of names are aligned to the left, columns of numbers to the right."""
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
    head, *body = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])
