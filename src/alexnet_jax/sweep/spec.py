"""Sweeps: variants of a recipe, each with several seeds, beside a baseline; and ensembles of what they learn.

A recipe may have a function ``sweep(variants: str = "") -> Sweep`` beside its ``get_config``. What there is
to do for it, by which commands, is in `sweep_tasks`. Nothing here imports JAX.

    <workdir>/sweep.json              what the sweep is: its table is made from the directory alone
    <workdir>/<member>-seed<N>/       a workdir as of any training
    <workdir>/<ensemble>/
        evaluation.json               the last to be written: with it a task is done
        failed.txt                    why it is not, or not any more
    <workdir>/table.md, table.json    what came out; see `sweep_table`
"""

import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from etils import epath

from alexnet_jax.config.recipe import UnknownVariant, call, find
from alexnet_jax.config.settings import NEUTRAL
from alexnet_jax.errors import UserError, near

_RESULT = {"split", "views", "examples", "top1_error", "top5_error", "checkpoints"}


@dataclasses.dataclass(frozen=True)
class Published:
    """What was published for a row of the table.

    Attributes:
      on: the set that it was measured on.
      top1: error in %; or, as ``worse``, points above the baseline's.
      top5: the same of the top-5 error.
      worse: whether these are changes.
    """

    on: str
    top1: float | None = None
    top5: float | None = None
    worse: bool = False


@dataclasses.dataclass(frozen=True)
class Member:
    """A net that is trained.

    Attributes:
      name: in the table.
      config: a recipe: ``FILE.py[:VARIANT,...]``, from the folder of the sweep's own file, or the name of one
        that the package ships.
      settings: of the config, by key: ``{"optimizer.learning_rate": 0.01}``.
      init_from: the member whose parameters it begins with, those of the same seed.
      seeds: its own; those of the sweep by default.
      published: what to compare it with.
      curve: the curve of a figure that it belongs to; members of one curve differ in the learning rate.
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
    """Nets whose probabilities are averaged: those of all seeds of some members.

    Attributes:
      name: in the table.
      members: by name.
      published: what to compare it with.
    """

    name: str
    members: tuple[str, ...]
    published: Published | None = None


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What is trained and compared.

    Attributes:
      members: in the order in which they are trained, for one seed after the other.
      baseline: the member that the others are compared with; none: they are not.
      seeds: of each member that has none of its own.
      views: of each image when a net is tested, 1 or 10.
      ensembles: of the members.
      figure: the paper's figure that it reproduces; only 1 is a sweep.
    """

    members: tuple[Member, ...]
    baseline: str | None = None
    seeds: tuple[int, ...] = (0,)
    views: int = 1
    ensembles: tuple[Ensemble, ...] = ()
    figure: Literal[1] | None = None

    def seeds_of(self, member: Member) -> tuple[int, ...]:
        """The member's own, or those of all."""
        return self.seeds if member.seeds is None else member.seeds


def directories(of: Member | Ensemble, sweep: Sweep) -> list[str]:
    """The names of the directories that a row of the table is made of."""
    if isinstance(of, Ensemble):
        return [slug(of.name)]
    return [directory_of(of.name, seed) for seed in sweep.seeds_of(of)]


def one_of(name: str, known: Mapping[str, Callable[[], Sweep]]) -> Sweep:
    """Return the sweep of this name, for a file with several; the first one if there is no name.

    Raises:
      UnknownVariant: there is no sweep of this name.
    """
    if name and name not in known:
        raise UnknownVariant("sweep", name, known)
    return known[name or next(iter(known))]()


def load(path: str) -> Sweep:
    """Return the sweep of a recipe, ``FILE.py[:VARIANT,...]`` or ``NAME[:VARIANT,...]``.

    Raises:
      UserError: no such recipe, or one that has no valid sweep.
    """
    found = call(path, "sweep", Sweep)
    for member in found.members:
        if own := {"seed", "init_from"} & {*member.settings}:
            raise UserError(f"{path}: {member.name}: {min(own)} is no setting of a member, but a field of it")
    names = [member.name for member in found.members]
    slugs = [slug(name) for name in (*names, *(ensemble.name for ensemble in found.ensembles))]
    slugs += [name for member in found.members for name in directories(member, found)]
    if double := {name for name in slugs if slugs.count(name) > 1}:
        raise UserError(f"{path}: two rows or nets of the sweep are named {min(double)}")
    if found.figure == 1 and not all(member.curve for member in found.members):
        raise UserError(f"{path}: each member of a sweep with figure=1 needs a curve")
    if found.views not in (1, 10):
        raise UserError(f"{path}: the sweep's views are {found.views}, but must be 1 or 10")
    asked = [
        found.baseline,
        *(m.init_from for m in found.members),
        *(n for e in found.ensembles for n in e.members),
    ]
    for name in asked:
        if name is not None and name not in names:
            raise UserError(f"{path}: the sweep has no member {name}{near(name, names)}")
    return found


def evaluation(directory: epath.Path) -> dict[str, Any] | None:
    """What ``alexnet-jax evaluate`` found for a task; None where that is not done."""
    try:
        found = json.loads((directory / "evaluation.json").read_text())
        return found if found.keys() >= _RESULT else None
    except (OSError, ValueError, AttributeError):
        return None


def counted(directory: epath.Path) -> dict[str, Any] | None:
    """The result of a task that tables count: none of one that failed, or that is asked for otherwise now."""
    return None if (directory / "failed.txt").exists() else evaluation(directory)


def directory_of(member: str, seed: int) -> str:
    """The name of a net's directory."""
    return f"{slug(member)}-seed{seed}"


def slug(name: str) -> str:
    """A name for a directory; an asterisk says something, and stays a word."""
    return re.sub(r"[^\w.+-]+", "-", name.replace("*", " star")).strip("-")


def to_json(path: str, sweep: Sweep, overrides: Sequence[str]) -> str:
    """The text of a ``sweep.json``."""
    typed = {"typed": [f"--config={path}", *overrides], "sweep": dataclasses.asdict(sweep)}
    return json.dumps(identity(path, overrides) | typed, indent=1) + "\n"


def identity(path: str, overrides: Sequence[str]) -> dict[str, Any]:
    """What makes a sweep this one: its file's name, its variants and settings, wherever things lie."""
    file, variants = find(path)
    free = {f"--config.{key}" for key in NEUTRAL}
    settings = sorted(word for word in overrides if word.partition("=")[0] not in free)
    return {"config": file.name + (f":{variants}" if variants else ""), "overrides": settings}


def read(workdir: epath.Path) -> Sweep:
    """The sweep that lies in a directory.

    Raises:
      UserError: none does.
    """
    try:
        fields = json.loads((workdir / "sweep.json").read_text(), object_hook=_with_tuples)["sweep"]
        for row in (*fields["members"], *fields["ensembles"]):
            row["published"] = row["published"] and Published(**row["published"])
        fields["members"] = tuple(Member(**row) for row in fields["members"])
        fields["ensembles"] = tuple(Ensemble(**row) for row in fields["ensembles"])
        return Sweep(**fields)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{workdir} holds no sweep, no sweep.json that can be read: alexnet-jax sweep makes one"
        ) from error


def _with_tuples(found: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}
