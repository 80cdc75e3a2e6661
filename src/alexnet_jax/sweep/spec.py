"""The types of a sweep: variants of a recipe, each with several seeds, beside a baseline; and ensembles.

A recipe may have a function ``sweep(variants: str = "") -> Sweep`` beside its ``get_config``. `tasks` makes
commands of it, `run` runs them, `table` compares the results. Nothing here imports JAX.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

from alexnet_jax.config.recipe import UnknownVariant, call
from alexnet_jax.errors import UserError, near


@dataclasses.dataclass(frozen=True)
class Published:
    """Published error rates for a row of the table.

    Attributes:
      on: data set that they were measured on.
      top1: top-1 error in %; if ``worse``, percentage points above the baseline's; None if unknown.
      top5: the same for the top-5 error.
      worse: whether the two are changes against the baseline.
    """

    on: str
    top1: float | None = None
    top5: float | None = None
    worse: bool = False


@dataclasses.dataclass(frozen=True)
class Member:
    """A network that is trained.

    Attributes:
      name: name in the table.
      config: recipe: ``FILE.py[:VARIANT,...]``, relative to the folder of the sweep's own file, or the name
        of one that the package ships.
      settings: settings of the config by key: ``{"optimizer.learning_rate": 0.01}``.
      init_from: member whose parameters it starts from, of the same seed; None to initialise them.
      seeds: its own seeds; None for those of the sweep.
      published: published error rates to compare it with.
      curve: curve of the figure that it belongs to; members of a curve differ in the learning rate.
    """

    name: str
    config: str
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    init_from: str | None = None
    seeds: tuple[int, ...] | None = None
    published: Published | None = None
    curve: str | None = None


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """Networks whose probabilities are averaged: all seeds of some members.

    Attributes:
      name: name in the table.
      members: names of the members.
      published: published error rates to compare it with.
    """

    name: str
    members: tuple[str, ...]
    published: Published | None = None


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What is trained and compared.

    Attributes:
      members: members in the order in which they are trained, one seed after the other.
      baseline: member that the others are compared with; None for no comparison.
      seeds: seeds of each member that has none of its own.
      views: number of crops of each test image, 1 or 10.
      ensembles: ensembles of the members.
      figure: figure of the paper that it reproduces; only 1 is a sweep.
    """

    members: tuple[Member, ...]
    baseline: str | None = None
    seeds: tuple[int, ...] = (0,)
    views: int = 1
    ensembles: tuple[Ensemble, ...] = ()
    figure: Literal[1] | None = None

    def seeds_of(self, member: Member) -> tuple[int, ...]:
        """Return the member's own seeds, or those of the sweep."""
        return self.seeds if member.seeds is None else member.seeds


def directories(row: Member | Ensemble, sweep: Sweep) -> list[str]:
    """Return the names of the directories that hold the results of a row."""
    if isinstance(row, Ensemble):
        return [slug(row.name)]
    return [directory_of(row.name, seed) for seed in sweep.seeds_of(row)]


def directory_of(member: str, seed: int) -> str:
    """Return the name of a network's directory."""
    return f"{slug(member)}-seed{seed}"


def slug(name: str) -> str:
    """Return a name as the name of a directory; an asterisk becomes the word ``star``."""
    return re.sub(r"[^\w.+-]+", "-", name.replace("*", " star")).strip("-")


def one_of(name: str, known: Mapping[str, Callable[[], Sweep]]) -> Sweep:
    """Return the sweep of this name, for a file with several; the first one if there is no name.

    Raises:
      UnknownVariant: there is no sweep of this name.
    """
    if name and name not in known:
        raise UnknownVariant("sweep", name, known)
    return known[name or next(iter(known))]()


def load(path: str) -> Sweep:
    """Return the checked sweep of a recipe, ``FILE.py[:VARIANT,...]`` or ``NAME[:VARIANT,...]``.

    Raises:
      UserError: no such recipe, or one that has no valid sweep.
    """
    sweep = call(path, "sweep", Sweep)
    for member in sweep.members:
        if own := {"seed", "init_from"} & {*member.settings}:
            raise UserError(f"{path}: {member.name}: {min(own)} is no setting of a member, but a field of it")
    names = [member.name for member in sweep.members]
    slugs = [slug(name) for name in (*names, *(ensemble.name for ensemble in sweep.ensembles))]
    slugs += [name for member in sweep.members for name in directories(member, sweep)]
    if double := {name for name in slugs if slugs.count(name) > 1}:
        raise UserError(f"{path}: two rows or nets of the sweep are named {min(double)}")
    if sweep.figure == 1 and not all(member.curve for member in sweep.members):
        raise UserError(f"{path}: each member of a sweep with figure=1 needs a curve")
    if sweep.views not in (1, 10):
        raise UserError(f"{path}: the sweep's views are {sweep.views}, but must be 1 or 10")
    references = [
        sweep.baseline,
        *(member.init_from for member in sweep.members),
        *(name for ensemble in sweep.ensembles for name in ensemble.members),
    ]
    for name in references:
        if name is not None and name not in names:
            raise UserError(f"{path}: the sweep has no member {name}{near(name, names)}")
    return sweep
