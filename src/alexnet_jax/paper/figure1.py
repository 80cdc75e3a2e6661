"""Figure 1 of the paper, for a sweep: the number of epochs until each network has 25 % training error.

As in the paper, only the learning rate with which a network reaches this error first counts.
"""

import dataclasses
from itertools import cycle

import numpy as np
from etils import epath
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from alexnet_jax.errors import UserError
from alexnet_jax.paper import charts
from alexnet_jax.sweep.directory import valid_evaluation
from alexnet_jax.sweep.spec import Member, Sweep, directories
from alexnet_jax.text import visible
from alexnet_jax.training import metrics

LEVEL = 0.25
_LEVEL = f"{100 * LEVEL:g} % training error"
PAPER = "the paper: six times, on CIFAR-10 with four layers"


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """The training of a network with one learning rate.

    Attributes:
      name: name of the sweep's member.
      rate: learning rate at the start.
      errors: (epochs,), training error in each whole epoch, a fraction, averaged over the seeds.
      reached: epoch at which the error first falls to 25 %, interpolated linearly; None if it stays higher.
      ended: whether the training of all seeds is complete.
    """

    name: str
    rate: float
    errors: np.ndarray
    reached: float | None
    ended: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Net:
    """The runs of one network: a curve of the figure.

    Attributes:
      name: name of the curve.
      runs: one run for each learning rate, in the order of the sweep.
      first: run that reaches 25 % first; None if no run reaches it.
      ended: whether the training of all runs is complete.
    """

    name: str
    runs: tuple[Run, ...]
    first: Run | None
    ended: bool

    @property
    def words(self) -> str:
        """The result in one line."""
        count, epochs = len(self.runs), max(len(run.errors) for run in self.runs)
        if self.first is None:
            never = "never reaches" if self.ended else "has not reached"
            tried = f"{count} learning rate{'s' * (count > 1)}"
            return f"{self.name} {never} {_LEVEL} in {epochs} epochs ({tried})"
        rates = sorted(run.rate for run in self.runs)
        which = {rates[0]: "the smallest", rates[-1]: "the largest"}.get(self.first.rate, "one")
        tried = f"{which} of {count} tried" if count > 1 else "the only one tried"
        rate = f"learning rate {self.first.rate:g}"
        return f"{self.name} reaches {_LEVEL} after {self.first.reached:.1f} epochs ({rate}, {tried})"


@dataclasses.dataclass(frozen=True, eq=False)
class Figure1:
    """The data of figure 1.

    Attributes:
      nets: networks in the order of the sweep.
      incomplete: names of the members of the sweep whose training is not complete.
    """

    nets: tuple[Net, ...]
    incomplete: tuple[str, ...]

    @property
    def ratio(self) -> tuple[float, str, str] | None:
        """(epochs of the slower network / epochs of the faster one, name of the slower, name of the faster).

        None unless there are exactly two networks and both reach 25 %.
        """
        if len(self.nets) != 2:
            return None
        times = {net.name: net.first.reached for net in self.nets if net.first and net.first.reached}
        if len(times) != 2:
            return None
        fast, slow = sorted(times, key=lambda name: times[name])
        return times[slow] / times[fast], slow, fast

    def text(self) -> str:
        """Return the results as lines.

        There is one for each network, one for the ratio, one for the runs that never reach 25 %, and one for
        those that are not complete.
        """
        lines = [net.words for net in self.nets]
        if self.ratio:
            times, slow, fast = self.ratio
            lines.append(f"{slow} takes {times:.1f} times as many epochs as {fast} ({PAPER})")
        late = [
            run for net in self.nets if net.first for run in net.runs if run.reached is None and run.ended
        ]
        if late:
            each = ", ".join(f"{run.name} ({len(run.errors)} epochs)" for run in late)
            lines.append(f"runs that never reach {_LEVEL}: {each}")
        if self.incomplete:
            lines.append(f"not complete, so these results may change: {', '.join(self.incomplete)}")
        return "\n".join(map(visible, lines))


def gather(workdir: epath.Path, sweep: Sweep) -> Figure1:
    """Gather the data of the figure from the training so far.

    Args:
      workdir: directory of the sweep.
      sweep: sweep in this directory.

    Raises:
      UserError: the sweep does not reproduce figure 1, or no member has trained for an epoch.
    """
    if sweep.figure != 1:
        raise UserError(
            f"{workdir} holds a sweep that does not reproduce figure 1: use one of the recipe figure1"
        )
    runs: dict[str, list[Run]] = {}
    incomplete: dict[str, str] = {}  # the curve of each member whose training is not complete
    for member in sweep.members:
        run = _run(workdir, member, sweep)
        curve = member.curve or member.name
        runs.setdefault(curve, []).extend([run] if run else [])
        if run is None or not run.ended:
            incomplete[member.name] = curve
    nets = []
    for curve, of_net in runs.items():
        reached = [run for run in of_net if run.reached is not None]
        first = min(reached, key=lambda run: run.reached or 0.0, default=None)
        if of_net:
            nets.append(Net(curve, tuple(of_net), first, curve not in incomplete.values()))
    if not nets:
        raise UserError(
            f"no network in {workdir} has trained for an epoch, which figure 1 needs: run the sweep"
        )
    return Figure1(tuple(nets), tuple(incomplete))


def _run(workdir: epath.Path, member: Member, sweep: Sweep) -> Run | None:
    """Return the run of a member; None if a seed has not trained for a whole epoch."""
    paths = [workdir / name for name in directories(member, sweep)]
    logs = [metrics.read(path) for path in paths]
    curves = [log.epoch_errors() for log in logs]
    epochs = min(map(len, curves))
    if not epochs:
        return None
    errors = np.mean([curve[:epochs] for curve in curves], axis=0)
    ended = all(valid_evaluation(path) is not None for path in paths)
    return Run(member.name, logs[0].train[0]["learning_rate"], errors, first_at(errors, LEVEL), ended)


def first_at(errors: np.ndarray, level: float) -> float | None:
    """Return where a curve through (1, errors[0]), (2, errors[1]), ... first falls to a level, or None.

    Args:
      errors: (epochs,), errors as fractions.
      level: error to reach, a fraction.
    """
    below = np.flatnonzero(errors <= level)
    if not len(below):
        return None
    i = int(below[0])
    return 1.0 if i == 0 else float(i + (errors[i - 1] - level) / (errors[i - 1] - errors[i]))


def draw(facts: Figure1) -> Figure:
    """Draw the training errors: thick lines for the fastest learning rates, thin ones for the others.

    Args:
      facts: data of the figure, from `gather`.
    """
    figure = Figure(figsize=(4.4, 3.1), layout="constrained")
    ax = figure.subplots()
    ax.axhline(LEVEL, color=charts.MUTED, linewidth=0.8, linestyle=":")
    for i, (net, color) in enumerate(zip(facts.nets, cycle(charts.COLORS), strict=False)):
        dashes = "--" if i else "-"  # as the paper draws tanh
        for run in net.runs:
            epochs = np.arange(1, len(run.errors) + 1)
            if run is net.first and run.reached is not None:
                name = f"{visible(net.name)}, rate {run.rate:g}: {run.reached:.1f} epochs"
                ax.plot(epochs, run.errors, dashes, color=color, linewidth=2, zorder=3, label=name)
                ax.plot(run.reached, LEVEL, "o", color=color, markersize=5, zorder=4)
            else:
                ax.plot(epochs, run.errors, dashes, color=color, linewidth=0.7)
    ax.set(xlim=(0, None), ylim=(0, None))
    charts.plain(ax)
    ax.set_ylabel("training error", fontsize=9, color=charts.MUTED)
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    if any(net.first for net in facts.nets):
        legend = ax.legend(frameon=False, fontsize=9, labelcolor=charts.INK)
        for text in legend.get_texts():
            text.set_parse_math(False)
    return figure
