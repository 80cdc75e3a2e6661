"""Figure 1 of the paper, of a sweep: after how many epochs each net has 25 % training error.

As in the paper, a net's learning rate is the one that gets there first.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from etils import epath

from alexnet_jax import metrics
from alexnet_jax import sweep as sweep_lib
from alexnet_jax.errors import UserError
from alexnet_jax.sweep import Member, Sweep

LEVEL = 0.25
_LEVEL = f"{100 * LEVEL:g} % training error"
PAPER = "the paper: six times, on CIFAR-10 with four layers"


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """One training.

    Attributes:
      name: of its directory.
      rate: its learning rate at the start.
      errors: (epochs,), the mean training error of each whole epoch, a fraction.
      reached: the first epoch at which that is 25 %, between two epochs on a straight line; None: never.
    """

    name: str
    rate: float
    errors: np.ndarray
    reached: float | None


@dataclasses.dataclass(frozen=True, eq=False)
class Net:
    """The runs of one net.

    Attributes:
      name: for people.
      saturating: whether it is the one with tanh, drawn dashed in the paper.
      runs: in the sweep's order.
      first: of its runs the one that gets to 25 % first; None if none does.
    """

    name: str
    saturating: bool
    runs: tuple[Run, ...]
    first: Run | None

    @property
    def words(self) -> str:
        """What came out, in a line."""
        count, epochs = len(self.runs), max(len(run.errors) for run in self.runs)
        of = f"of {count} runs" if count > 1 else "its only run"
        if self.first is None:
            return f"{self.name}: never {_LEVEL}, in {epochs} epochs ({of})"
        rates = sorted(run.rate for run in self.runs)
        edge = {rates[0]: ", the smallest tried", rates[-1]: ", the largest tried"} if count > 1 else {}
        rate = f"rate {self.first.rate:g}{edge.get(self.first.rate, '')}"
        return f"{self.name}: {_LEVEL} after {self.first.reached:.1f} epochs ({rate}, {of})"


@dataclasses.dataclass(frozen=True, eq=False)
class Figure1:
    """Nets beside one another.

    Attributes:
      nets: in the sweep's order.
    """

    nets: tuple[Net, ...]

    @property
    def ratio(self) -> tuple[float, str, str] | None:
        """How many times as many epochs the slower of two nets takes, its name and the quicker one's.

        None of another number of nets, or where one never gets there.
        """
        if len(self.nets) != 2:
            return None
        times = {net.name: net.first.reached for net in self.nets if net.first and net.first.reached}
        if len(times) != 2:
            return None
        quick, slow = sorted(times, key=lambda name: times[name])
        return times[slow] / times[quick], slow, quick

    def text(self) -> str:
        """For people: a line for each net, one for the ratio, and one for the runs that never get there."""
        lines = [net.words for net in self.nets]
        if self.ratio:
            times, slow, quick = self.ratio
            lines.append(f"{slow} takes {times:.1f} times as many epochs as {quick} ({PAPER})")
        late = [run for net in self.nets if net.first for run in net.runs if run.reached is None]
        if late:
            each = ", ".join(f"{run.name} ({len(run.errors)} epochs)" for run in late)
            lines.append(f"never there: {each}")
        return "\n".join(lines)


def gather(workdir: epath.Path, sweep: Sweep) -> Figure1:
    """The figure of what is trained until now.

    Raises:
      UserError: no member has trained for an epoch.
    """
    runs: dict[str, list[Run]] = {}
    for member in sweep.members:
        runs.setdefault(member.config, []).extend(_runs(workdir, member, sweep))
    nets = []
    for config, of_net in runs.items():
        there = [run for run in of_net if run.reached is not None]
        first = min(there, key=lambda run: run.reached or 0.0, default=None)
        if of_net:
            nets.append(Net(_name(config), "tanh" in config.partition(":")[2], tuple(of_net), first))
    if not nets:
        raise UserError(f"figure 1 shows training errors, and no net in {workdir} has trained for an epoch")
    return Figure1(tuple(nets))


def _runs(workdir: epath.Path, member: Member, sweep: Sweep) -> Iterator[Run]:
    for name in sweep_lib.directories(member, sweep):
        train = metrics.read(workdir / name).train
        errors = epoch_means([line["epoch"] for line in train], [line["top1_error"] for line in train])
        if len(errors):
            yield Run(name, train[0]["learning_rate"], errors, first_at(errors, LEVEL))


def _name(config: str) -> str:
    path, _, variants = config.partition(":")
    name = (variants.partition(",")[0] or Path(path).stem).removeprefix("figure1_")
    return {"relu": "ReLU"}.get(name, name)


def epoch_means(ends: list[float], means: list[float]) -> np.ndarray:
    """The mean of each whole epoch, of means over intervals, which may lie across two epochs.

    Args:
      ends: of the intervals, in epochs, rising; the first one begins at 0.
      means: of what is between the end before and this one.
    """
    edges = np.array([0.0, *ends])
    area = np.cumsum([0.0, *np.diff(edges) * means])
    whole = np.arange(int(edges[-1] + 1e-9) + 1)
    return np.diff(np.interp(whole, edges, area))


def first_at(errors: np.ndarray, level: float) -> float | None:
    """Where a curve through (1, errors[0]), (2, errors[1]) and so on first comes down to a level."""
    below = np.flatnonzero(errors <= level)
    if not len(below):
        return None
    i = int(below[0])
    return 1.0 if i == 0 else float(i + (errors[i - 1] - level) / (errors[i - 1] - errors[i]))
