"""What came out of a sweep, as a table: made from its directory alone, at any time."""

import dataclasses
import statistics
from typing import Any

from etils import epath

from alexnet_jax import files
from alexnet_jax.sweep import spec as sweep_lib
from alexnet_jax.sweep.spec import Ensemble, Member, Published, Sweep
from alexnet_jax.text import aligned, markdown
from alexnet_jax.training import metrics


@dataclasses.dataclass(frozen=True)
class Errors:
    """An error rate over seeds, in %.

    Attributes:
      each: of every seed that is done.
    """

    each: tuple[float, ...]

    def __str__(self) -> str:
        return _plus_minus(self.mean, self.deviation)

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return statistics.fmean(self.each)

    @property
    def deviation(self) -> float | None:
        """Of one net from the mean of all, with n - 1; None of a single net."""
        return statistics.stdev(self.each) if len(self.each) > 1 else None

    def change(self, baseline: "Errors") -> tuple[float, float | None]:
        """Points above a baseline, and the standard error of this difference of means."""
        deviations = (self.deviation, baseline.deviation)
        if deviations[0] is None or deviations[1] is None:
            return self.mean - baseline.mean, None
        squares = deviations[0] ** 2 / len(self.each) + deviations[1] ** 2 / len(baseline.each)
        return self.mean - baseline.mean, squares**0.5


@dataclasses.dataclass(frozen=True)
class Row:
    """A member of a sweep, or an ensemble.

    Attributes:
      name: of it.
      wanted: how many nets it should have.
      top1: top-1 errors of those that are done; None of none.
      top5: their top-5 errors.
      training: top-1 errors of their last epoch's updates, with all that the training does to images and
        units; None of an ensemble, or of less than an epoch.
      failed: by seed, or the ensemble, why one is not.
      published: what to compare it with.
      on: (split, views, examples) that they were tested on.
      averaged: how many nets an ensemble is of; None of a member.
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
    """Rows in the sweep's order.

    Attributes:
      rows: members, then ensembles.
      baseline: the row that the others are compared with, once it is there.
    """

    rows: tuple[Row, ...]
    baseline: Row | None

    @property
    def on(self) -> str:
        """What the errors are of, in words."""
        tested = sorted({row.on for row in self.rows if row.on is not None})
        return "; ".join(f"{count:,} images of {split}, {views} view(s)" for split, views, count in tested)

    @property
    def failures(self) -> list[str]:
        """A line for each net that failed."""
        return [f"{which}: {why}" for row in self.rows for which, why in row.failed.items()]

    def cells(self) -> list[list[str]]:
        """The table as words, the head first."""
        head = ["", "nets", "top-1 error %", "change", "top-5 error %", "change", "training %"]
        head += ["published", "on"]
        rows = [head, *map(self._words, self.rows)]
        if self.baseline is None:  # nothing to compare with: no empty columns
            rows = [[*row[:3], row[4], *row[6:]] for row in rows]
        return rows

    def text(self) -> str:
        """For terminals."""
        return "\n".join([aligned(self.cells()), *self._notes()])

    def markdown(self) -> str:
        """For documents."""
        return "\n\n".join([markdown(self.cells()), *self._notes()]) + "\n"

    def to_json(self) -> dict[str, Any]:
        """For programs; errors and changes in %."""
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
        """The baseline's ``top1`` or ``top5`` on the same images, for any row but its own."""
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
            f"Errors on {self.on}; ± is the deviation over seeds, of a change its standard error."
            " Training is the error of the last epoch's updates, on the images as they are trained on."
        ]
        return [*(notes if self.on else []), *(f"failed: {line}" for line in self.failures)]


def table(workdir: epath.Path, sweep: Sweep) -> Table:
    """The table of what is done until now."""
    members_and_ensembles: list[Member | Ensemble] = [*sweep.members, *sweep.ensembles]
    rows = [_row(each, workdir, sweep) for each in members_and_ensembles]
    baseline = next((row for row in rows if row.name == sweep.baseline and row.top1 is not None), None)
    return Table(tuple(rows), baseline)


def write(workdir: epath.Path, found: Table) -> None:
    """``table.md`` and ``table.json``."""
    files.write(workdir / "table.md", found.markdown().encode())
    files.write_json(workdir / "table.json", found.to_json())


def _row(of: Member | Ensemble, workdir: epath.Path, sweep: Sweep) -> Row:
    directories = [workdir / name for name in sweep_lib.directories(of, sweep)]
    failed = {
        directory.name: (directory / "failed.txt").read_text().strip()
        for directory in directories
        if (directory / "failed.txt").exists()
    }
    results = {directory: sweep_lib.counted(directory) for directory in directories}
    done = [result for result in results.values() if result is not None]
    learned = [metrics.read(directory).epoch_errors() for directory, found in results.items() if found]
    last = tuple(100 * float(errors[-1]) for errors in learned if len(errors))
    top1, top5 = (
        Errors(tuple(100 * x[key] for x in done)) if done else None for key in ("top1_error", "top5_error")
    )
    on = (done[0]["split"], done[0]["views"], done[0]["examples"]) if done else None
    averaged = None
    if isinstance(of, Ensemble):
        averaged = sum(len(sweep.seeds_of(m)) for m in sweep.members if m.name in of.members)
    training = Errors(last) if last else None
    return Row(of.name, len(directories), top1, top5, training, failed, of.published, on, averaged)


def _numbers(errors: Errors | None, base: Errors | None) -> dict[str, Any] | None:
    if errors is None:
        return None
    change = (None, None) if base is None else errors.change(base)
    return {
        "mean": errors.mean,
        "deviation": errors.deviation,
        "each": list(errors.each),
        "change": change[0],
        "change_standard_error": change[1],
    }


def _plus_minus(value: float, deviation: float | None, sign: str = "") -> str:
    return f"{value:{sign}.2f}" + ("" if deviation is None else f" ± {deviation:.2f}")


def _published(found: Published | None) -> list[str]:
    if found is None:
        return ["", ""]
    numbers = ["-" if x is None else f"{x:+g}" if found.worse else f"{x:g}" for x in (found.top1, found.top5)]
    return [" / ".join(numbers), found.on]
