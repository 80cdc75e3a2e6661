"""What there is to say of a sweep: its table with each change as a bar, its curves, its nets."""

import dataclasses
import json
import shlex

from etils import epath

from alexnet_jax.errors import UserError
from alexnet_jax.paper import figure1
from alexnet_jax.paper.charts import Chart, Series, curves, themed
from alexnet_jax.paper.figure1 import Figure1
from alexnet_jax.sweep import spec as sweep_lib
from alexnet_jax.sweep import table as sweep_table
from alexnet_jax.sweep.spec import Sweep
from alexnet_jax.sweep.table import Errors, Row, Table
from alexnet_jax.training import metrics


@dataclasses.dataclass(frozen=True)
class Bar:
    """A row's change against the baseline, top-1 error, on a scale from 0 to 100 for the whole table.

    Attributes:
      zero: where no change is.
      end: where this one ends.
      low: one standard error less; None of a single seed.
      high: one standard error more.
      published: where the published change is; None where there is none.
    """

    zero: float
    end: float
    low: float | None
    high: float | None
    published: float | None


@dataclasses.dataclass(frozen=True)
class Run:
    """A net of the sweep.

    Attributes:
      name: of its directory.
      epoch: how far it is trained.
      error: its last top-1 error while it was trained, a fraction; None before the first.
      split: that this is of.
      state: ``tested``, ``failed``, ``trained in part`` or ``to do``.
      report: the address of its own page, from this one; None where there is none.
    """

    name: str
    epoch: float
    error: float | None
    split: str
    state: str
    report: str | None


@dataclasses.dataclass(frozen=True, eq=False)
class Facts:
    """All that the page of a sweep shows.

    Attributes:
      name: of its directory.
      command: that made it.
      sweep: what it is.
      table: what came out.
      rows: the table's words, the head first.
      bars: of the table's rows; None of one without a change.
      curves: errors over epochs; None before the first evaluation.
      runs: its nets.
      figure1: None of a sweep of other nets than those of figure 1.
      figure1_svg: its drawing.
    """

    name: str
    command: str
    sweep: Sweep
    table: Table
    rows: list[list[str]]
    bars: list[Bar | None]
    curves: Chart | None
    runs: list[Run]
    figure1: Figure1 | None
    figure1_svg: str | None


def gather(workdir: str, path: epath.Path, beside: epath.Path) -> Facts:
    """Reads what is done until now.

    Args:
      workdir: as it was typed.
      path: where it lies.
      beside: the folder of the page, from which it names others.

    Raises:
      UserError: no sweep.
    """
    sweep = sweep_lib.read(path)
    made = json.loads((path / "sweep.json").read_text())
    table = sweep_table.table(path, sweep)
    facts1, drawing = None, None
    if sweep.figure == 1:
        try:
            facts1 = figure1.gather(path, sweep)
            drawing = themed(figure1.draw(facts1), "figureone", "Figure 1", facts1.text())
        except UserError:  # nothing is trained yet
            pass
    runs = [
        _run(path / name, beside) for member in sweep.members for name in sweep_lib.directories(member, sweep)
    ]
    return Facts(
        name=path.name,
        command=shlex.join(["alexnet-jax", "sweep", f"--workdir={workdir}", *made["typed"]]),
        sweep=sweep,
        table=table,
        rows=table.cells(),
        bars=_bars(table),
        curves=_curves(path, sweep),
        runs=runs,
        figure1=facts1,
        figure1_svg=drawing,
    )


def _bars(table: Table) -> list[Bar | None]:
    changes = [_change(row, table.compared_with("top1", row)) for row in table.rows]
    published = [
        row.published.top1 if row.published and row.published.worse and change else None
        for row, change in zip(table.rows, changes, strict=True)
    ]
    reach = [x for change in changes if change for x in (change[0] - change[1], change[0] + change[1])]
    reach += [x for x in published if x is not None]
    low, high = min([0.0, *reach]), max([0.0, *reach])

    def place(points: float) -> float:
        return round(2 + 96 * (points - low) / (high - low or 1), 2)

    return [
        change
        and Bar(
            place(0),
            place(change[0]),
            place(change[0] - change[1]) if change[1] else None,
            place(change[0] + change[1]) if change[1] else None,
            None if known is None else place(known),
        )
        for change, known in zip(changes, published, strict=True)
    ]


def _change(row: Row, base: Errors | None) -> tuple[float, float] | None:
    if row.top1 is None or base is None:
        return None
    points, error = row.top1.change(base)
    return points, error or 0.0


def _run(directory: epath.Path, beside: epath.Path) -> Run:
    told = metrics.read(directory)
    tested = told.evaluations[-1] if told.evaluations else None
    if (directory / "failed.txt").exists():
        state = "failed"
    elif sweep_lib.evaluation(directory) is not None:
        state = "tested"
    else:
        state = "trained in part" if told.train else "to do"
    page = directory / "report.html"
    inside = str(page).removeprefix(f"{beside}/")
    return Run(
        directory.name,
        told.last[1],
        tested["top1_error"] if tested else None,
        tested["split"] if tested else "",
        state,
        (inside if inside != str(page) else page.as_uri()) if page.exists() else None,
    )


def _curves(path: epath.Path, sweep: Sweep) -> Chart | None:
    series = []
    several = any(len(sweep.seeds_of(member)) > 1 for member in sweep.members)
    for number, member in enumerate(sweep.members):
        for name in sweep_lib.directories(member, sweep):
            lines = metrics.read(path / name).evaluations
            if lines:
                epochs, errors = [line["epoch"] for line in lines], [line["top1_error"] for line in lines]
                series.append(Series(member.name, epochs, errors, number, thin=several, points=True))
    if not series:
        return None
    title = "Error of tests while training, top 1, logarithmic" + (", each seed a line" if several else "")
    return curves("members", title, series, percent=True, log=True)
