"""What there is to do for a sweep: which commands in which directory, what they need, and whether it is done.

Nothing here imports JAX.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from alexnet_jax.config import saved
from alexnet_jax.config.overrides import override
from alexnet_jax.config.recipe import beside, find, load
from alexnet_jax.config.settings import NEUTRAL
from alexnet_jax.config.validate import validate
from alexnet_jax.data import sources
from alexnet_jax.errors import UserError
from alexnet_jax.sweep.spec import Sweep, directory_of, evaluation, slug


@dataclasses.dataclass(frozen=True)
class Task:
    """A net to train and to test, or an ensemble to test.

    Attributes:
      name: for people.
      directory: where its files lie.
      train: the arguments of ``alexnet-jax train``; none for an ensemble.
      evaluate: the arguments of ``alexnet-jax evaluate``.
      needs: the tasks that must be done before: the net that it begins with, or those of the ensemble.
      config: that it is trained with.
    """

    name: str
    directory: epath.Path
    train: tuple[str, ...]
    evaluate: tuple[str, ...]
    needs: tuple["Task", ...]
    config: ConfigDict | None


def tasks(path: str, sweep: Sweep, workdir: epath.Path, overrides: list[str]) -> list[Task]:
    """All there is to do, in the order in which it can be done: one seed after the other, then the ensembles.

    Args:
      path: of the sweep's file.
      sweep: from `sweep.load`.
      workdir: where the sweep lies.
      overrides: ``--config.KEY=VALUE`` for every member.

    Raises:
      UserError: a member whose variant or setting does not exist, or that needs one that comes later; an
        override of what makes the members different.
    """
    file, _ = find(path)
    of_member: dict[str, dict[int, Task]] = {member.name: {} for member in sweep.members}
    own: list[dict[str, Any]] = []  # settings of each net, before the overrides
    found: list[Task] = []
    for seed in sorted({seed for member in sweep.members for seed in sweep.seeds_of(member)}):
        for member in (each for each in sweep.members if seed in sweep.seeds_of(each)):
            directory = workdir / directory_of(member.name, seed)
            settings = {**member.settings, "seed": seed}
            needs: tuple[Task, ...] = ()
            if member.init_from is not None:
                if seed not in of_member[member.init_from]:
                    raise UserError(
                        f"{path}: {member.name}, seed {seed}, begins with {member.init_from},"
                        " which is not trained before it with this seed"
                    )
                needs = (of_member[member.init_from][seed],)
                settings["init_from"] = str(needs[0].directory)
            config = beside(file, member.config)
            words = [f"--config.{key}={value}" for key, value in settings.items()]
            try:
                wanted = override(load(config), words)
                own.append(saved.settings(wanted))
                wanted = override(wanted, overrides)
                validate(wanted)
            except UserError as error:
                raise UserError(f"{path}: {member.name}: {error}") from error
            wanted.data.source = sources.identity(wanted.data.source)  # as a workdir has it
            train = (f"--config={config}", f"--workdir={directory}", *words, *overrides)
            evaluate = _evaluation(directory, [directory], sweep, overrides)
            task = Task(f"{member.name}, seed {seed}", directory, train, evaluate, needs, wanted)
            of_member[member.name][seed] = task
            found.append(task)
    _refuse_what_differs(own, overrides)
    for ensemble in sweep.ensembles:
        directory = workdir / slug(ensemble.name)
        nets = tuple(task for name in ensemble.members for task in of_member[name].values())
        evaluate = _evaluation(directory, [net.directory for net in nets], sweep, overrides)
        found.append(Task(ensemble.name, directory, (), evaluate, nets, None))
    return found


def _refuse_what_differs(own: Sequence[dict[str, Any]], overrides: Sequence[str]) -> None:
    """An override is every net's: where they differ, it would make them alike and leave them their names.

    Their ends are free: a short sweep is how one tries a long one.
    """
    for word in overrides:
        key = word.removeprefix("--config.").partition("=")[0]
        if key in ("seed", "init_from"):
            raise UserError(f"{word}: the sweep sets it for each net")
        values = {json.dumps(settings.get(key)) for settings in own}
        if len(values) > 1 and key not in {*NEUTRAL, "num_epochs", "num_steps"}:
            raise UserError(
                f"{word} would be every net's, but they have {', '.join(sorted(values))}:"
                " set it in the sweep's file"
            )


def _evaluation(
    directory: epath.Path, nets: Sequence[epath.Path], sweep: Sweep, overrides: Sequence[str]
) -> tuple[str, ...]:
    workdirs = (f"--workdir={net}" for net in nets)
    data = (
        word for word in overrides if word.startswith(("--config.data.source=", "--config.data.cache_dir="))
    )
    return (*workdirs, *data, f"--views={sweep.views}", f"--json={directory / 'evaluation.json'}")


def is_done(task: Task) -> bool:
    """Whether it has its result, and this is still what is asked for."""
    return evaluation(task.directory) is not None and difference(task) is None


def difference(task: Task) -> str | None:
    """How the result that a task has is not what is asked for; None if it is, or if it has none."""
    found = evaluation(task.directory)
    if found is None:
        return None
    if f"--views={found['views']}" not in task.evaluate:
        return f"it was tested with {found['views']} view(s)"
    for net in task.needs:
        if problem := difference(net):
            return f"it needs {net.directory.name}, and {problem}"
    if task.config is None:  # an ensemble of the nets as they are now
        now = [result for net in task.needs if (result := evaluation(net.directory)) is not None]
        same = _names_and_steps([found]) == _names_and_steps(now)
        return None if same else "its nets are not what they were"
    changed = changes(task)
    if changed is None:
        return "its config.json can't be read"
    if changed:
        key, old, new = changed[0]
        return f"it has {key} = {old}, not {new}"
    began = _other_beginning(task)
    return began and f"it {began}"


def obstacle(task: Task) -> str | None:
    """Why what was trained can't become what is asked for; None if it can.

    A later end goes on, and whether data that has moved is the same is for the training to say.
    """
    if task.config is None or not _steps(task.directory):
        return None
    for key, old, new in changes(task) or ():
        later = key in ("num_epochs", "num_steps") and (new is None or (old is not None and new > old))
        if not later and key != "data.source":
            return (
                f"{task.directory} holds a net with {key} = {old}, not {new}: delete it, or name the new one"
            )
    began = _other_beginning(task)
    return began and f"{task.directory} holds a net that {began}: delete it"


def changes(task: Task) -> list[tuple[str, Any, Any]] | None:
    """(key, old, new) of what was trained otherwise than is asked for; None where nothing tells."""
    try:
        trained = saved.from_json((task.directory / "config.json").read_text())
    except (OSError, ValueError, KeyError, TypeError, UserError):
        return None
    return [
        (key, old, new)
        for key, old, new in saved.changes(trained, task.config)
        if key not in NEUTRAL
        and not (key.endswith(".classes") and not new)
        and not (key == "init_from" and old and new and Path(old).name == Path(new).name)  # it was moved
    ]


def _steps(directory: epath.Path) -> list[int]:
    """Of the checkpoints of a net."""
    return [int(path.name) for path in (directory / "checkpoints").glob("[0-9]*") if path.name.isdigit()]


def _names_and_steps(results: Sequence[dict[str, Any]]) -> list[tuple[str, int]]:
    """Of the checkpoints of results, wherever the sweep has lain then."""
    return [(Path(net["workdir"]).name, net["step"]) for result in results for net in result["checkpoints"]]


def _other_beginning(task: Task) -> str | None:
    """How the net that it began with has gone on since; None if it has not."""
    for net in task.needs:
        try:
            began = json.loads((task.directory / "init_from.json").read_text())["step"]
        except (OSError, ValueError, KeyError, TypeError, UserError):
            return None
        now = max(_steps(net.directory), default=began)
        if now != began:
            return f"began with {net.directory.name} at step {began}, which is at step {now} now"
    return None
