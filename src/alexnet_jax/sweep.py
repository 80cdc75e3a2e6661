"""Sweeps: variants of a recipe, each with several seeds, beside a baseline; and ensembles of what they learn.

A recipe may have a function ``sweep(variants: str = "") -> Sweep`` beside its ``get_config``. `tasks` makes
a list of it: what there is to do, in which directory, by which commands. Nothing here imports JAX.

    <workdir>/sweep.json              what the sweep is: its table is made from the directory alone
    <workdir>/<member>-seed<N>/       a workdir as of any training
    <workdir>/<ensemble>/
        evaluation.json               the last to be written: with it a task is done
        failed.txt                    why it is not
    <workdir>/table.md, table.json    what came out; see `sweep_table`
"""

import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from alexnet_jax import config as config_lib
from alexnet_jax import settings as settings_lib
from alexnet_jax.errors import UserError
from alexnet_jax.overrides import override


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
      config: ``FILE.py[:VARIANT,...]``, from the folder of the sweep's own file.
      settings: of the config, by key: ``{"learning.rate": 0.01}``.
      init_from: the member whose parameters it begins with, those of the same seed.
      seeds: its own; those of the sweep by default.
      published: what to compare it with.
    """

    name: str
    config: str
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    init_from: str | None = None
    seeds: tuple[int, ...] | None = None
    published: Published | None = None


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
    """

    members: tuple[Member, ...]
    baseline: str | None = None
    seeds: tuple[int, ...] = (0,)
    views: int = 1
    ensembles: tuple[Ensemble, ...] = ()

    def seeds_of(self, member: Member) -> tuple[int, ...]:
        """The member's own, or those of all."""
        return self.seeds if member.seeds is None else member.seeds


@dataclasses.dataclass(frozen=True)
class Task:
    """A net to train and to test, or an ensemble to test.

    Attributes:
      name: for people.
      directory: where its files lie.
      train: the arguments of ``alexnet-jax train``; none for an ensemble.
      evaluate: the arguments of ``alexnet-jax evaluate``.
      needs: directories of the tasks that must be done before.
      config: that it is trained with.
    """

    name: str
    directory: epath.Path
    train: tuple[str, ...]
    evaluate: tuple[str, ...]
    needs: tuple[epath.Path, ...]
    config: ConfigDict | None


def directories(of: Member | Ensemble, sweep: Sweep) -> list[str]:
    """The names of the directories that a row of the table is made of."""
    if isinstance(of, Ensemble):
        return [_slug(of.name)]
    return [_directory(of.name, seed) for seed in sweep.seeds_of(of)]


def one_of(name: str, known: Mapping[str, Callable[[], Sweep]]) -> Sweep:
    """The sweep of this name, for a file that has several; the first one where there is no name.

    Raises:
      UserError: none is called that.
    """
    if name and name not in known:
        raise UserError(f"no sweep {name}{config_lib.near(name, known)}; there are {', '.join(known)}")
    return known[name or next(iter(known))]()


def load(path: str) -> Sweep:
    """The sweep of ``FILE.py[:VARIANT,...]``.

    Raises:
      UserError: no such file, or nothing in it that would make a sweep.
    """
    found = config_lib.call(path, "sweep", Sweep)
    for member in found.members:
        if own := {"seed", "init_from"} & {*member.settings}:
            raise UserError(f"{path}: {member.name}: {min(own)} is no setting of a member, but a field of it")
    names = [member.name for member in found.members]
    slugs = [_slug(name) for name in (*names, *(ensemble.name for ensemble in found.ensembles))]
    slugs += [name for member in found.members for name in directories(member, found)]
    if double := {slug for slug in slugs if slugs.count(slug) > 1}:
        raise UserError(f"{path}: two rows or nets of the sweep are named {min(double)}")
    if found.views not in (1, 10):
        raise UserError(f"{path}: the sweep's views are {found.views}, but must be 1 or 10")
    asked = [
        found.baseline,
        *(m.init_from for m in found.members),
        *(n for e in found.ensembles for n in e.members),
    ]
    for name in asked:
        if name is not None and name not in names:
            raise UserError(f"{path}: the sweep has no member {name}{config_lib.near(name, names)}")
    return found


def tasks(path: str, sweep: Sweep, workdir: epath.Path, overrides: Sequence[str]) -> list[Task]:
    """All there is to do, in the order in which it can be done: one seed after the other, then the ensembles.

    Args:
      path: of the sweep's file.
      sweep: from `load`.
      workdir: where the sweep lies.
      overrides: ``--config.KEY=VALUE`` for every member.

    Raises:
      UserError: a member whose variant or setting does not exist, or that needs one that comes later.
    """
    for word in overrides:
        if word.lstrip("-").startswith(("config.seed=", "config.init_from=")):
            raise UserError(f"{word}: the sweep sets it for each net")
    folder = Path(path.partition(":")[0]).parent
    of_member: dict[str, list[epath.Path]] = {member.name: [] for member in sweep.members}
    sources: set[str] = set()
    found: list[Task] = []
    for seed in sorted({seed for member in sweep.members for seed in sweep.seeds_of(member)}):
        for member in (each for each in sweep.members if seed in sweep.seeds_of(each)):
            directory = workdir / _directory(member.name, seed)
            settings = {**member.settings, "seed": seed}
            needs: tuple[epath.Path, ...] = ()
            if member.init_from is not None:
                needs = (workdir / _directory(member.init_from, seed),)
                settings["init_from"] = str(needs[0])
                if needs[0] not in of_member[member.init_from]:
                    raise UserError(
                        f"{path}: {member.name}, seed {seed}, begins with {member.init_from},"
                        " which is not trained before it with this seed"
                    )
            config = str(folder / member.config)
            words = [*(f"--config.{key}={value}" for key, value in settings.items()), *overrides]
            try:
                sources.add(override(config_lib.load(config), words[: len(settings)]).data.source)
                wanted = override(config_lib.load(config), words)
                config_lib.validate(wanted)
            except UserError as error:
                raise UserError(f"{path}: {member.name}: {error}") from error
            train = (f"--config={config}", f"--workdir={directory}", *words)
            evaluate = _evaluation(directory, [directory], sweep, overrides)
            found.append(Task(f"{member.name}, seed {seed}", directory, train, evaluate, needs, wanted))
            of_member[member.name].append(directory)
    if len(sources) > 1 and any("config.data.source=" in word for word in overrides):
        raise UserError(
            f"--config.data.source would be every net's, but they have {', '.join(sorted(sources))}:"
            " make links of these names"
        )
    for ensemble in sweep.ensembles:
        directory = workdir / _slug(ensemble.name)
        nets = [each for name in ensemble.members for each in of_member[name]]
        evaluate = _evaluation(directory, nets, sweep, overrides)
        found.append(Task(ensemble.name, directory, (), evaluate, tuple(nets), None))
    return found


def _evaluation(
    directory: epath.Path, nets: Sequence[epath.Path], sweep: Sweep, overrides: Sequence[str]
) -> tuple[str, ...]:
    workdirs = (f"--workdir={net}" for net in nets)
    data = (
        word for word in overrides if word.startswith(("--config.data.source=", "--config.data.cache_dir="))
    )
    return (*workdirs, *data, f"--views={sweep.views}", f"--json={directory / 'evaluation.json'}")


def evaluation(directory: epath.Path) -> dict[str, Any] | None:
    """What ``alexnet-jax evaluate`` found for a task; None where that is not done."""
    try:
        return json.loads((directory / "evaluation.json").read_text())
    except (OSError, ValueError):
        return None


# What may differ between what was trained and what is asked for: where things lie, and on what it ran.
_ELSEWHERE = settings_lib.MAY_CHANGE - {"num_epochs", "num_steps", "init_from", "data.source"}


def is_done(task: Task) -> bool:
    """Whether it has its result, and this is still what is asked for."""
    found = evaluation(task.directory)
    if found is None or f"--views={found['views']}" not in task.evaluate:
        return False
    if task.config is None:  # an ensemble of the nets as they are now
        now = [evaluation(net) for net in task.needs]
        return found["checkpoints"] == [each["checkpoints"][0] for each in now if each is not None]
    return not changes(task.directory, task.config)


def changes(directory: epath.Path, config: ConfigDict) -> list[tuple[str, Any, Any]]:
    """(key, old, new) of what was trained there otherwise than is asked for."""
    trained = settings_lib.from_json((directory / "config.json").read_text())
    return [
        (key, old, new)
        for key, old, new in settings_lib.changes(trained, config)
        if key not in _ELSEWHERE
        and not (key.endswith(".classes") and not new)
        and not (key in ("init_from", "data.source") and old and new and Path(old).name == Path(new).name)
    ]


def _directory(member: str, seed: int) -> str:
    return f"{_slug(member)}-seed{seed}"


def _slug(name: str) -> str:
    """A name for a directory; an asterisk says something, and stays a word."""
    return re.sub(r"[^\w.+-]+", "-", name.replace("*", " star")).strip("-")


def to_json(path: str, sweep: Sweep, overrides: Sequence[str]) -> str:
    """The text of a ``sweep.json``."""
    typed = {"typed": [f"--config={path}", *overrides], "sweep": dataclasses.asdict(sweep)}
    return json.dumps(identity(path, overrides) | typed, indent=1) + "\n"


def identity(path: str, overrides: Sequence[str]) -> dict[str, Any]:
    """What makes a sweep this one: its file's name, its variants and settings, wherever things lie."""
    name, colon, variants = path.partition(":")
    free = {f"--config.{key}" for key in _ELSEWHERE}
    settings = sorted(word for word in overrides if word.partition("=")[0] not in free)
    return {"config": Path(name).name + colon + variants, "overrides": settings}


def read(workdir: epath.Path) -> Sweep:
    """The sweep that lies in a directory.

    Raises:
      UserError: none does.
    """
    try:
        fields = json.loads((workdir / "sweep.json").read_text(), object_hook=_with_tuples)["sweep"]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{workdir} holds no sweep, no sweep.json: alexnet-jax sweep makes one") from error
    for row in (*fields["members"], *fields["ensembles"]):
        row["published"] = row["published"] and Published(**row["published"])
    fields["members"] = tuple(Member(**row) for row in fields["members"])
    fields["ensembles"] = tuple(Ensemble(**row) for row in fields["ensembles"])
    return Sweep(**fields)


def _with_tuples(found: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}
