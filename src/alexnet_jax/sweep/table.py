"""The results of a sweep as a table, made from its directory alone, even while the sweep runs."""

import dataclasses
import statistics
from typing import Any

from etils import epath

from alexnet_jax import files
from alexnet_jax.sweep.directory import failure, valid_evaluation
from alexnet_jax.sweep.spec import Ensemble, Member, Published, Sweep, directories
from alexnet_jax.text import aligned, markdown, visible
from alexnet_jax.training import metrics


@dataclasses.dataclass(frozen=True)
class Errors:
    """The error rates of several seeds, in %.

    Attributes:
      each: error rate of each finished seed.
    """

    each: tuple[float, ...]

    def __str__(self) -> str:
        return _plus_minus(self.mean, self.std)

    @property
    def mean(self) -> float:
        """The mean over the seeds."""
        return statistics.fmean(self.each)

    @property
    def std(self) -> float | None:
        """The standard deviation over the seeds, dividing by n - 1; None for a single seed."""
        return statistics.stdev(self.each) if len(self.each) > 1 else None

    def change(self, baseline: "Errors") -> tuple[float, float | None]:
        """Return the increase of the mean over a baseline's, in percentage points, and its standard error.

        The standard error is None if either has a single seed.
        """
        change = self.mean - baseline.mean
        if self.std is None or baseline.std is None:
            return change, None
        return change, (self.std**2 / len(self.each) + baseline.std**2 / len(baseline.each)) ** 0.5


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the table: a member of a sweep, or an ensemble.

    Attributes:
      name: name of the member or the ensemble.
      wanted: number of results when all are done: one for each seed of a member, one for an ensemble.
      top1: top-1 errors of the results so far; None if there are none.
      top5: top-5 errors of the same results.
      training: top-1 errors on the augmented training images, averaged over the updates of the last whole
        epoch; None for an ensemble, or before the first whole epoch.
      failed: reasons of failures, by directory.
      published: published error rates to compare it with.
      on: (split, views, examples) of the test.
      averaged: number of networks in an ensemble; None for a member.
    """

    name: str
    wanted: int
    top1: Errors | None
    top5: Errors | None
    training: Errors | None
    failed: dict[str, str]
    published: Published | None
    on: tuple[str, int, int] | None
    averaged: int | None


@dataclasses.dataclass(frozen=True)
class Table:
    """The table of a sweep.

    Attributes:
      rows: members, then ensembles, in the order of the sweep.
      baseline: row that the others are compared with; None before it has a result.
    """

    rows: tuple[Row, ...]
    baseline: Row | None

    @property
    def on(self) -> str:
        """The number of tested images, the split and the number of views; empty without a result."""
        tested = sorted({row.on for row in self.rows if row.on is not None})
        return "; ".join(f"{count:,} images of {split}, {views} view(s)" for split, views, count in tested)

    @property
    def failures(self) -> list[str]:
        """A line for each failure."""
        return [f"{which}: {why}" for row in self.rows for which, why in row.failed.items()]

    def cells(self) -> list[list[str]]:
        """Return the cells of the table as text, the header first."""
        head = ["", "networks", "top-1 error %", "change", "top-5 error %", "change", "training %"]
        head += ["published", "on"]
        rows = [head, *map(self._words, self.rows)]
        if self.baseline is None:  # no columns of changes
            rows = [[*row[:3], row[4], *row[6:]] for row in rows]
        return rows

    def text(self) -> str:
        """Format the table for a terminal."""
        return "\n".join([aligned(self.cells()), *self._notes()])

    def markdown(self) -> str:
        """Format the table in Markdown."""
        return "\n\n".join([markdown(self.cells()), *self._notes()]) + "\n"

    def to_json(self) -> dict[str, Any]:
        """Return the object of ``table.json``; errors and changes are in %."""
        return {
            "baseline": self.baseline.name if self.baseline else None,
            "rows": [
                {
                    "name": row.name,
                    "wanted": row.wanted,
                    "split_views_examples": row.on,
                    "top1": _numbers(row.top1, self.compared_with("top1", row)),
                    "top5": _numbers(row.top5, self.compared_with("top5", row)),
                    "training": _numbers(row.training, None),
                    "failed": row.failed,
                    "published": row.published and dataclasses.asdict(row.published),
                }
                for row in self.rows
            ],
        }

    def compared_with(self, name: str, row: Row) -> Errors | None:
        """Return the errors of the baseline that those of a row are compared with.

        None for the baseline itself, and for a row that was tested on other images.

        Args:
          name: ``top1`` or ``top5``.
          row: row to compare.
        """
        other = self.baseline is not None and self.baseline is not row and self.baseline.on == row.on
        return getattr(self.baseline, name) if other else None

    def _words(self, row: Row) -> list[str]:
        done = 0 if row.top1 is None else len(row.top1.each)
        count = f"{done} of {row.wanted}" if done < row.wanted else str(done)
        if row.averaged and done:
            count = f"{row.averaged} averaged"
        if row.failed:
            count += f", {len(row.failed)} failed"
        words = [row.name, count]
        for name in ("top1", "top5"):
            errors: Errors | None = getattr(row, name)
            base = self.compared_with(name, row)
            words.append(("failed" if row.failed else "not run") if errors is None else str(errors))
            words.append(_plus_minus(*errors.change(base), "+") if errors and base else "")
        return [*words, str(row.training or ""), *_published(row.published)]

    def _notes(self) -> list[str]:
        notes = [
            f"Errors on {self.on}. ± is the standard deviation over seeds; for a change, its standard error."
            " Training is the error on the augmented training images in the last epoch."
        ]
        return [*(notes if self.on else []), *(f"failed: {visible(line)}" for line in self.failures)]


def table(workdir: epath.Path, sweep: Sweep) -> Table:
    """Return the table of the results so far.

    Args:
      workdir: directory of the sweep.
      sweep: sweep in this directory.
    """
    members_and_ensembles: list[Member | Ensemble] = [*sweep.members, *sweep.ensembles]
    rows = [_row(each, workdir, sweep) for each in members_and_ensembles]
    baseline = next((row for row in rows if row.name == sweep.baseline and row.top1 is not None), None)
    return Table(tuple(rows), baseline)


def write(workdir: epath.Path, found: Table) -> None:
    """Write ``table.md`` and ``table.json``."""
    files.write(workdir / "table.md", found.markdown().encode())
    files.write(workdir / "table.json", files.as_json(found.to_json()))


def _row(of: Member | Ensemble, workdir: epath.Path, sweep: Sweep) -> Row:
    paths = [workdir / name for name in directories(of, sweep)]
    failed = {path.name: reason for path in paths if (reason := failure(path)) is not None}
    results = {path: valid_evaluation(path) for path in paths}
    done = [result for result in results.values() if result is not None]
    epochs = [metrics.read(path).epoch_errors() for path, result in results.items() if result is not None]
    last = tuple(100 * float(errors[-1]) for errors in epochs if len(errors))
    top1, top5 = (
        Errors(tuple(100 * x[key] for x in done)) if done else None for key in ("top1_error", "top5_error")
    )
    on = (done[0]["split"], done[0]["views"], done[0]["examples"]) if done else None
    averaged = None
    if isinstance(of, Ensemble):
        averaged = sum(len(sweep.seeds_of(m)) for m in sweep.members if m.name in of.members)
    training = Errors(last) if last else None
    return Row(of.name, len(paths), top1, top5, training, failed, of.published, on, averaged)


def _numbers(errors: Errors | None, base: Errors | None) -> dict[str, Any] | None:
    if errors is None:
        return None
    change = (None, None) if base is None else errors.change(base)
    return {
        "mean": errors.mean,
        "std": errors.std,
        "each": list(errors.each),
        "change": change[0],
        "change_standard_error": change[1],
    }


def _plus_minus(value: float, error: float | None, sign: str = "") -> str:
    return f"{value:{sign}.2f}" + ("" if error is None else f" ± {error:.2f}")


def _published(found: Published | None) -> list[str]:
    if found is None:
        return ["", ""]
    numbers = ["-" if x is None else f"{x:+g}" if found.worse else f"{x:g}" for x in (found.top1, found.top5)]
    return [" / ".join(numbers), found.on]
