"""Figure 1 of the paper, of a sweep: after how many epochs each net has 25 % training error.

As in the paper, a net's learning rate is the one that gets there first.
"""

import dataclasses
from itertools import cycle

import numpy as np
from etils import epath
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from alexnet_jax.errors import UserError
from alexnet_jax.paper import charts
from alexnet_jax.sweep import spec as sweep_lib
from alexnet_jax.sweep.spec import Member, Sweep
from alexnet_jax.training import metrics

LEVEL = 0.25
_LEVEL = f"{100 * LEVEL:g} % training error"
PAPER = "the paper: six times, on CIFAR-10 with four layers"


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A net with one learning rate.

    Attributes:
      name: of the sweep's member.
      rate: its learning rate at the start.
      errors: (epochs,), the training error in each whole epoch, the mean over its seeds, a fraction.
      reached: the first epoch at which that is 25 %, between two epochs on a straight line; None: not yet.
      ended: whether all its seeds are trained to their end.
    """

    name: str
    rate: float
    errors: np.ndarray
    reached: float | None
    ended: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Net:
    """The runs of one net, a curve of the figure.

    Attributes:
      name: of the curve.
      runs: in the sweep's order, a learning rate each.
      first: of its runs the one that gets to 25 % first; None if none does.
      ended: whether all its rates are trained to their end.
    """

    name: str
    runs: tuple[Run, ...]
    first: Run | None
    ended: bool

    @property
    def words(self) -> str:
        """What came out, in a line."""
        count, epochs = len(self.runs), max(len(run.errors) for run in self.runs)
        of = f"of {count}" if count > 1 else "the only one"
        if self.first is None:
            never = "never" if self.ended else "not yet at"
            return f"{self.name}: {never} {_LEVEL}, in {epochs} epochs ({count} rate{'s' * (count > 1)})"
        rates = sorted(run.rate for run in self.runs)
        edge = {rates[0]: ", the smallest tried", rates[-1]: ", the largest tried"} if count > 1 else {}
        rate = f"rate {self.first.rate:g}{edge.get(self.first.rate, '')}"
        return f"{self.name}: {_LEVEL} after {self.first.reached:.1f} epochs ({rate}, {of})"


@dataclasses.dataclass(frozen=True, eq=False)
class Figure1:
    """Nets beside one another.

    Attributes:
      nets: in the sweep's order.
      under_way: names of the sweep's members that are not trained to their end.
    """

    nets: tuple[Net, ...]
    under_way: tuple[str, ...]

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
        """For people: a line for each net, for the ratio, and for what does not get there or may yet."""
        lines = [net.words for net in self.nets]
        if self.ratio:
            times, slow, quick = self.ratio
            lines.append(f"{slow} takes {times:.1f} times as many epochs as {quick} ({PAPER})")
        late = [
            run for net in self.nets if net.first for run in net.runs if run.reached is None and run.ended
        ]
        if late:
            each = ", ".join(f"{run.name} ({len(run.errors)} epochs)" for run in late)
            lines.append(f"never there: {each}")
        if self.under_way:
            lines.append(f"not trained to the end, so all this may change: {', '.join(self.under_way)}")
        return "\n".join(lines)


def gather(workdir: epath.Path, sweep: Sweep) -> Figure1:
    """The figure of what is trained until now.

    Raises:
      UserError: a sweep of other nets, or no member has trained for an epoch.
    """
    if sweep.figure != 1:
        raise UserError(f"{workdir} holds a sweep that is not of figure 1, as configs/figure1.py is")
    runs: dict[str, list[Run]] = {}
    under_way: dict[str, str] = {}  # the curve of each member that is not at its end
    for member in sweep.members:
        run = _run(workdir, member, sweep)
        curve = member.curve or member.name
        runs.setdefault(curve, []).extend([run] if run else [])
        if run is None or not run.ended:
            under_way[member.name] = curve
    nets = []
    for curve, of_net in runs.items():
        there = [run for run in of_net if run.reached is not None]
        first = min(there, key=lambda run: run.reached or 0.0, default=None)
        if of_net:
            nets.append(Net(curve, tuple(of_net), first, curve not in under_way.values()))
    if not nets:
        raise UserError(f"figure 1 shows training errors, and no net in {workdir} has trained for an epoch")
    return Figure1(tuple(nets), tuple(under_way))


def _run(workdir: epath.Path, member: Member, sweep: Sweep) -> Run | None:
    """None before each seed has trained for an epoch."""
    directories = [workdir / name for name in sweep_lib.directories(member, sweep)]
    trained = [metrics.read(directory) for directory in directories]
    curves = [told.epoch_errors() for told in trained]
    epochs = min(map(len, curves))
    if not epochs:
        return None
    errors = np.mean([curve[:epochs] for curve in curves], axis=0)
    ended = all(sweep_lib.counted(directory) is not None for directory in directories)
    return Run(member.name, trained[0].train[0]["learning_rate"], errors, first_at(errors, LEVEL), ended)


def first_at(errors: np.ndarray, level: float) -> float | None:
    """Where a curve through (1, errors[0]), (2, errors[1]) and so on first comes down to a level."""
    below = np.flatnonzero(errors <= level)
    if not len(below):
        return None
    i = int(below[0])
    return 1.0 if i == 0 else float(i + (errors[i - 1] - level) / (errors[i - 1] - errors[i]))


def draw(facts: Figure1) -> Figure:
    """Draw each network's training error with the quickest learning rate; thin lines are the other rates.

    Args:
      facts: from `figure1.gather`.
    """
    figure = Figure(figsize=(4.4, 3.1), layout="constrained")
    ax = figure.subplots()
    ax.axhline(LEVEL, color=charts.MUTED, linewidth=0.8, linestyle=":")
    for i, (net, color) in enumerate(zip(facts.nets, cycle(charts.COLORS), strict=False)):
        dashes = "--" if i else "-"  # as the paper draws tanh
        for run in net.runs:
            epochs = np.arange(1, len(run.errors) + 1)
            if run is net.first and run.reached is not None:
                name = f"{net.name}, rate {run.rate:g}: {run.reached:.1f} epochs"
                ax.plot(epochs, run.errors, dashes, color=color, linewidth=2, zorder=3, label=name)
                ax.plot(run.reached, LEVEL, "o", color=color, markersize=5, zorder=4)
            else:
                ax.plot(epochs, run.errors, dashes, color=color, linewidth=0.7)
    ax.set(xlim=(0, None), ylim=(0, None))
    charts.plain(ax)
    ax.set_ylabel("training error", fontsize=9, color=charts.MUTED)
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    if any(net.first for net in facts.nets):
        ax.legend(frameon=False, fontsize=9, labelcolor=charts.INK)
    return figure
