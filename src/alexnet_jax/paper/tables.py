"""Tables 1 and 2 of the paper and the result on Fall 2009 of section 6, beside the results of our sweeps.

The sweeps are those of ``configs/tables.py``, each in a subdirectory that has its name.
"""

import dataclasses

from etils import epath

from alexnet_jax.paper.published import FALL2009, TABLE1, TABLE2, TABLE2_TEST_TOP5
from alexnet_jax.sweep import directory
from alexnet_jax.sweep.spec import Published
from alexnet_jax.sweep.table import Row, table
from alexnet_jax.text import aligned


@dataclasses.dataclass(frozen=True)
class PaperRow:
    """A row of a table in the paper, errors in %.

    Attributes:
      model: name of the model in the paper.
      published: published errors, one text for each column.
      ours: (sweep, row) of our result; None for models that are not ours.
    """

    model: str
    published: tuple[str, ...]
    ours: tuple[str, str] | None = None


@dataclasses.dataclass(frozen=True)
class PaperTable:
    """A table of the paper.

    Attributes:
      title: title, with the data set.
      columns: names of the published columns; the first two are top 1 and top 5.
      rows: rows in the order of the paper.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[PaperRow, ...]


def _errors(published: Published) -> tuple[str, str]:
    return f"{published.top1:.1f}", f"{published.top5:.1f}"


TABLES = (
    PaperTable(
        "Table 1: ILSVRC-2010, test set (the paper has one CNN)",
        ("top-1 %", "top-5 %"),
        (
            PaperRow("Sparse coding", ("47.1", "28.2")),
            PaperRow("SIFT + FVs", ("45.7", "25.7")),
            PaperRow("CNN", _errors(TABLE1["1 CNN"]), ("ilsvrc2010", "1 CNN")),
            *(PaperRow(name, ("-", "-"), ("ilsvrc2010", name)) for name in ("5 CNNs", "1 CNN*", "7 CNNs*")),
        ),
    ),
    PaperTable(
        "Table 2: ILSVRC-2012, validation set (and test set, whose labels are not public)",
        ("top-1 %, validation", "top-5 %, validation", "top-5 %, test"),
        (
            PaperRow("SIFT + FVs", ("-", "-", "26.2")),
            *(
                PaperRow(name, (*_errors(each), str(TABLE2_TEST_TOP5.get(name, "-"))), ("ilsvrc2012", name))
                for name, each in TABLE2.items()
            ),
        ),
    ),
    PaperTable(
        "Section 6: ImageNet of Fall 2009, half of it to test on",
        ("top-1 %", "top-5 %"),
        (
            PaperRow("the best published before", ("78.1", "60.9")),
            PaperRow("CNN with a sixth convolution", _errors(FALL2009["1 CNN"]), ("fall2009", "1 CNN")),
        ),
    ),
)


def text(root: epath.Path) -> str:
    """Return all tables, with our results from the sweeps in a directory.

    Args:
      root: directory with a subdirectory for each sweep of ``configs/tables.py``; it may be absent.

    Raises:
      UserError: a subdirectory holds no sweep.
    """
    ours = {row.ours[0] for of in TABLES for row in of.rows if row.ours}
    found = {
        (name, row.name): row
        for name in ours
        if (root / name).exists()
        for row in table(root / name, directory.read(root / name)).rows
    }
    nothing = [] if root.exists() else [f"There is no folder {root}: no sweep has been run in it."]
    return "\n\n".join([*nothing, *(_text(of, root, found) for of in TABLES)])


def _text(of: PaperTable, root: epath.Path, found: dict[tuple[str, str], Row]) -> str:
    head = ("", *of.columns, "ours, top-1 %", "ours, top-5 %", "measured on")
    rows = [(row.model, *row.published, *_cells(row, found)) for row in of.rows]
    missing = sorted(
        {row.ours[0] for row in of.rows if row.ours and getattr(found.get(row.ours), "top1", None) is None}
    )
    commands = [
        f"not run: alexnet-jax sweep --config=tables:{name} --workdir={root / name}" for name in missing
    ]
    return "\n".join([of.title, aligned([head, *rows]), *commands])


def _cells(row: PaperRow, found: dict[tuple[str, str], Row]) -> tuple[str, str, str]:
    if row.ours is None:
        return "", "", ""
    ours = found.get(row.ours)
    if ours is None or ours.top1 is None or ours.top5 is None or ours.on is None:
        return "not run", "not run", "failed" if ours and ours.failed else ""
    split, views, examples = ours.on
    count = f"{len(ours.top1.each)} of {ours.wanted} networks, " if ours.wanted > 1 else ""
    return str(ours.top1), str(ours.top5), f"{count}{examples:,} images of {split}, {views} views"
