"""Gather the facts for the page of a sweep: the table with a bar for each change, curves and networks."""

import dataclasses
import shlex

from etils import epath

from alexnet_jax.errors import UserError
from alexnet_jax.paper import figure1
from alexnet_jax.paper.charts import Chart, Series, curves, themed
from alexnet_jax.paper.figure1 import Figure1
from alexnet_jax.sweep import directory
from alexnet_jax.sweep import table as sweep_table
from alexnet_jax.sweep.spec import Sweep, directories
from alexnet_jax.sweep.table import Errors, Row, Table
from alexnet_jax.training import metrics


@dataclasses.dataclass(frozen=True)
class Bar:
    """The change of a row's top-1 error against the baseline: positions on a scale from 0 to 100.

    All bars of a table have the same scale.

    Attributes:
      zero: position of no change.
      end: position of the row's change.
      low: position of one standard error less; None for a single seed.
      high: position of one standard error more; None for a single seed.
      published: position of the published change; None if there is none.
    """

    zero: float
    end: float
    low: float | None
    high: float | None
    published: float | None


@dataclasses.dataclass(frozen=True)
class Run:
    """A network of the sweep.

    Attributes:
      name: name of its directory.
      epoch: number of epochs that it has trained for.
      error: top-1 error of the last evaluation during training, a fraction; None before the first.
      split: split of this evaluation; empty before the first.
      state: ``tested``, ``failed``, ``trained in part`` or ``to do``.
      report: link to its own page, relative to this one if possible; None if it has no page.
    """

    name: str
    epoch: float
    error: float | None
    split: str
    state: str
    report: str | None


@dataclasses.dataclass(frozen=True, eq=False)
class Facts:
    """The facts that the page of a sweep shows.

    Attributes:
      name: name of its directory.
      workdir: path of its directory, as typed on the command line.
      command: command that started it.
      sweep: sweep of the page.
      table: results.
      rows: cells of the table, the header first.
      bars: a bar for each row of the table; None for a row without a change.
      curves: errors over epochs; None before the first evaluation.
      runs: networks of the sweep.
      best: row with the lowest top-1 error; None before the first result.
      figure1: data of figure 1; None if the sweep does not reproduce it, or has not trained for an epoch.
      figure1_svg: drawing of figure 1; None if ``figure1`` is.
    """

    name: str
    workdir: str
    command: str
    sweep: Sweep
    table: Table
    rows: list[list[str]]
    bars: list[Bar | None]
    curves: Chart | None
    runs: list[Run]
    best: Row | None
    figure1: Figure1 | None
    figure1_svg: str | None

    @property
    def done(self) -> int:
        """Number of networks that are trained and tested."""
        return sum(run.state == "tested" for run in self.runs)

    @property
    def next_step(self) -> tuple[str, str]:
        """What to do next, and the command for it."""
        if any(row.top1 is None or len(row.top1.each) < row.wanted for row in self.table.rows):
            return "To run what is missing or failed, run the sweep again:", self.command
        workdir = f"--workdir={self.workdir.rstrip('/')}/{self.runs[0].name}"
        return "To see the mistakes of one network:", shlex.join(["alexnet-jax", "report", workdir])


def gather(workdir: str, path: epath.Path, beside: epath.Path) -> Facts:
    """Gather the results so far.

    Args:
      workdir: directory of the sweep, as typed on the command line.
      path: absolute path of the same directory.
      beside: folder that will hold the page, for relative links.

    Raises:
      UserError: the directory holds no sweep.
    """
    sweep = directory.read(path)
    table = sweep_table.table(path, sweep)
    facts1, drawing = None, None
    if sweep.figure == 1:
        try:
            facts1 = figure1.gather(path, sweep)
            drawing = themed(figure1.draw(facts1), "figureone", "Figure 1", facts1.text())
        except UserError:  # no network has trained for an epoch
            pass
    runs = [_run(path / name, beside) for member in sweep.members for name in directories(member, sweep)]
    return Facts(
        name=path.name,
        workdir=workdir,
        command=shlex.join(["alexnet-jax", "sweep", f"--workdir={workdir}", *directory.typed_flags(path)]),
        sweep=sweep,
        table=table,
        rows=table.cells(),
        bars=_bars(table),
        curves=_curves(path, sweep),
        runs=runs,
        best=min((row for row in table.rows if row.top1), key=_top1, default=None),
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

    def position(points: float) -> float:
        return round(2 + 96 * (points - low) / (high - low or 1), 2)

    return [
        change
        and Bar(
            position(0),
            position(change[0]),
            position(change[0] - change[1]) if change[1] else None,
            position(change[0] + change[1]) if change[1] else None,
            None if known is None else position(known),
        )
        for change, known in zip(changes, published, strict=True)
    ]


def _top1(row: Row) -> float:
    return row.top1.mean if row.top1 else 100.0


def _change(row: Row, base: Errors | None) -> tuple[float, float] | None:
    if row.top1 is None or base is None:
        return None
    points, error = row.top1.change(base)
    return points, error or 0.0


def _run(path: epath.Path, beside: epath.Path) -> Run:
    log = metrics.read(path)
    tested = log.evaluations[-1] if log.evaluations else None
    if directory.failure(path) is not None:
        state = "failed"
    elif directory.evaluation(path) is not None:
        state = "tested"
    else:
        state = "trained in part" if log.train else "to do"
    page = path / "report.html"
    inside = str(page).removeprefix(f"{beside}/")
    return Run(
        path.name,
        log.last[1],
        tested["top1_error"] if tested else None,
        tested["split"] if tested else "",
        state,
        (inside if inside != str(page) else page.as_uri()) if page.exists() else None,
    )


def _curves(path: epath.Path, sweep: Sweep) -> Chart | None:
    series = []
    several = any(len(sweep.seeds_of(member)) > 1 for member in sweep.members)
    for number, member in enumerate(sweep.members):
        for name in directories(member, sweep):
            lines = metrics.read(path / name).evaluations
            if lines:
                epochs, errors = [line["epoch"] for line in lines], [line["top1_error"] for line in lines]
                series.append(Series(member.name, epochs, errors, number, thin=several, points=True))
    if not series:
        return None
    title = "Top-1 error during training, logarithmic" + (", a line for each seed" if several else "")
    return curves("members", title, series, percent=True, log=True)
