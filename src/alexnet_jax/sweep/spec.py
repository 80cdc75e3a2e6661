"""The types of a sweep: members with several seeds each, a baseline to compare them with, and ensembles.

A recipe may have a function ``sweep(variants: str = "") -> Sweep`` beside its ``get_config``. `tasks` turns
it into commands, `run` runs them, and `table` compares the results. Nothing here imports JAX.
"""

import dataclasses
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Literal

from alexnet_jax.config.recipe import UnknownVariant, call
from alexnet_jax.errors import UserError, near
from alexnet_jax.schema import plain, short

_MOST = 10_000  # networks in a sweep
_LONGEST = 255  # bytes of the name of a directory


@dataclasses.dataclass(frozen=True)
class Published:
    """Published error rates for a row of the table.

    Attributes:
      on: data set on which they were measured.
      top1: top-1 error in %, or if ``worse`` its increase over the baseline in percentage points; None if
        unknown.
      top5: top-5 error, likewise.
      worse: whether ``top1`` and ``top5`` are increases over the baseline.
    """

    on: str
    top1: float | None = None
    top5: float | None = None
    worse: bool = False


@dataclasses.dataclass(frozen=True)
class Member:
    """A network to train, once for each seed.

    Attributes:
      name: name in the table.
      config: recipe: ``FILE.py[:VARIANT,...]``, relative to the folder of the sweep's file, or the name of a
        recipe that the package ships.
      settings: settings of the config by key: ``{"optimizer.learning_rate": 0.01}``.
      init_from: member whose trained parameters, of the same seed, are the initial ones; None for random
        initial parameters.
      seeds: random seeds; None for those of the sweep.
      published: published error rates to compare it with.
      curve: name of its curve in the figure; the members of a curve differ in the learning rate.
    """

    name: str
    config: str
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    init_from: str | None = None
    seeds: tuple[int, ...] | None = None
    published: Published | None = None
    curve: str | None = None

    def __post_init__(self) -> None:
        for name in ("settings", "seeds"):
            object.__setattr__(self, name, plain(getattr(self, name)))


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
    """Networks to train and to compare.

    Attributes:
      members: members in the order of training: all with the first seed, then all with the next one.
      baseline: member that the others are compared with; None for no comparison.
      seeds: random seeds of each member that does not set its own.
      views: number of crops of each test image, 1 or 10.
      ensembles: ensembles of the members.
      figure: number of the figure of the paper that the sweep reproduces, 1; None for no figure.
    """

    members: tuple[Member, ...]
    baseline: str | None = None
    seeds: tuple[int, ...] = (0,)
    views: int = 1
    ensembles: tuple[Ensemble, ...] = ()
    figure: Literal[1] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "seeds", plain(self.seeds))

    def seeds_of(self, member: Member) -> tuple[int, ...]:
        """Return the member's own seeds, or those of the sweep."""
        return self.seeds if member.seeds is None else member.seeds


def directories(row: Member | Ensemble, sweep: Sweep) -> list[str]:
    """Return the names of the directories that hold the results of a row."""
    if isinstance(row, Ensemble):
        return [slug(row.name)]
    return [directory_of(row.name, seed) for seed in sweep.seeds_of(row)]


def directory_of(member: str, seed: int) -> str:
    """Return the name of the directory of a network."""
    return f"{slug(member)}-seed{seed}"


def slug(name: str) -> str:
    """Turn a name into the name of a directory; an asterisk becomes the word ``star``."""
    return re.sub(r"[^\w.+-]+", "-", name.replace("*", " star")).strip("-")


def one_of(name: str, known: Mapping[str, Callable[[], Sweep]]) -> Sweep:
    """Make the sweep with a given name, for a recipe that has several.

    Args:
      name: name of the sweep; the empty string for the first one.
      known: functions that make the sweeps, by name.

    Raises:
      UnknownVariant: there is no sweep with this name.
    """
    if name and name not in known:
        raise UnknownVariant("sweep", name, known)
    return known[name or next(iter(known))]()


def load(path: str) -> Sweep:
    """Load and check the sweep of a recipe, ``FILE.py[:VARIANT,...]`` or ``NAME[:VARIANT,...]``.

    Raises:
      UserError: the recipe does not exist, or has no valid sweep.
    """
    sweep = call(path, "sweep", Sweep)
    check(path, sweep)
    return sweep


def check(path: str, sweep: Sweep) -> None:
    """Check that the parts of a sweep fit each other.

    Args:
      path: the file that defines it, for messages.
      sweep: the sweep.

    Raises:
      UserError: they do not.
    """
    if not sweep.members:
        raise UserError(f"{path}: the sweep has no members")
    if empty := [each.name for each in sweep.members if not sweep.seeds_of(each)]:
        raise UserError(f"{path}: {empty[0]} has no seeds")
    if empty := [each.name for each in sweep.ensembles if not each.members]:
        raise UserError(f"{path}: the ensemble {empty[0]} has no members")
    for member in sweep.members:
        if own := {"seed", "init_from"} & {*member.settings}:
            raise UserError(
                f"{path}: {member.name}: {min(own)} can't be in settings: use the fields seeds and init_from"
            )
    if (count := sum(len(sweep.seeds_of(member)) for member in sweep.members)) > _MOST:
        raise UserError(f"{path}: the sweep has {count:,} networks, more than {_MOST:,}: divide it")
    names = [member.name for member in sweep.members]
    slugs = [slug(name) for name in (*names, *(ensemble.name for ensemble in sweep.ensembles))]
    slugs += [name for member in sweep.members for name in directories(member, sweep)]
    for each in slugs:
        if each in ("", ".", "..") or len(os.fsencode(each)) > _LONGEST:
            raise UserError(
                f"{path}: {short(each)!r} can't be the name of a directory: change a name in the sweep"
            )
    if double := {name for name, times in Counter(slugs).items() if times > 1}:
        raise UserError(
            f"{path}: two rows or networks of the sweep are named {min(double)}: change a name or seed"
        )
    if sweep.figure not in (None, 1):
        raise UserError(f"{path}: figure is {sweep.figure}, but only figure 1 is drawn from a sweep")
    if sweep.figure == 1 and not all(member.curve for member in sweep.members):
        raise UserError(f"{path}: each member of a sweep with figure=1 needs a curve")
    if sweep.views not in (1, 10):
        raise UserError(f"{path}: views of the sweep is {sweep.views}, but must be 1 or 10")
    references = [
        sweep.baseline,
        *(member.init_from for member in sweep.members),
        *(name for ensemble in sweep.ensembles for name in ensemble.members),
    ]
    for name in references:
        if name is not None and name not in names:
            raise UserError(f"{path}: the sweep has no member {name}{near(name, names)}")
