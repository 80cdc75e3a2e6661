"""The tasks of a sweep: their commands and directories, the tasks that they need, and whether they are done.

Nothing here imports JAX.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from alexnet_jax import schema
from alexnet_jax.config import saved
from alexnet_jax.config.overrides import override
from alexnet_jax.config.recipe import beside, find, load
from alexnet_jax.config.settings import NEUTRAL
from alexnet_jax.config.validate import validate
from alexnet_jax.data import sources
from alexnet_jax.errors import UserError
from alexnet_jax.sweep.directory import EVALUATION, Evaluation, evaluation
from alexnet_jax.sweep.spec import Sweep, directory_of, slug
from alexnet_jax.training.workdir import Start, read_workdir, saved_steps


@dataclasses.dataclass(frozen=True)
class Task:
    """A network to train and to test, or an ensemble to test.

    Attributes:
      name: name to print.
      directory: directory of its files.
      train: arguments of ``alexnet-jax train``; empty for an ensemble.
      evaluate: arguments of ``alexnet-jax evaluate``.
      needs: tasks that must be done first: the network that it starts from, or those of the ensemble.
      config: config of the training; None for an ensemble.
    """

    name: str
    directory: epath.Path
    train: tuple[str, ...]
    evaluate: tuple[str, ...]
    needs: tuple["Task", ...]
    config: ConfigDict | None


def tasks(path: str, sweep: Sweep, workdir: epath.Path, overrides: list[str]) -> list[Task]:
    """Return all tasks in an order in which they can run: one seed after the other, then the ensembles.

    Args:
      path: recipe of the sweep.
      sweep: sweep from `spec.load`.
      workdir: directory of the sweep.
      overrides: flags ``--config.KEY=VALUE`` for every member.

    Raises:
      UserError: a member has an unknown variant or setting, or starts from a member that is not
        trained before it; an override is of a setting in which the members differ.
    """
    file, _ = find(path)
    of_member: dict[str, dict[int, Task]] = {member.name: {} for member in sweep.members}
    own: list[dict[str, Any]] = []  # settings of each network, before the overrides
    found: list[Task] = []
    for seed in sorted({seed for member in sweep.members for seed in sweep.seeds_of(member)}):
        for member in (each for each in sweep.members if seed in sweep.seeds_of(each)):
            directory = workdir / directory_of(member.name, seed)
            settings = {**member.settings, "seed": seed}
            needs: tuple[Task, ...] = ()
            if member.init_from is not None:
                if seed not in of_member[member.init_from]:
                    raise UserError(
                        f"{path}: {member.name}, seed {seed}, starts from {member.init_from},"
                        " which is not trained before it with this seed: list that one first, with this seed"
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
            wanted.data.source = sources.identity(wanted.data.source)  # as a workdir records it
            train = (f"--config={config}", f"--workdir={directory}", *words, *overrides)
            evaluate = _evaluation(directory, [directory], sweep, wanted)
            task = Task(f"{member.name}, seed {seed}", directory, train, evaluate, needs, wanted)
            of_member[member.name][seed] = task
            found.append(task)
    _refuse_what_differs(own, overrides)
    for ensemble in sweep.ensembles:
        directory = workdir / slug(ensemble.name)
        networks = tuple(task for name in ensemble.members for task in of_member[name].values())
        evaluate = _evaluation(directory, [task.directory for task in networks], sweep, networks[0].config)
        found.append(Task(ensemble.name, directory, (), evaluate, networks, None))
    return found


def _refuse_what_differs(own: Sequence[dict[str, Any]], overrides: Sequence[str]) -> None:
    """Refuse an override of a setting in which the members differ, which would make them alike.

    The length of the training may be overridden, so that a long sweep can be tried out briefly.
    """
    for word in overrides:
        key = word.removeprefix("--config.").partition("=")[0]
        if key in ("seed", "init_from"):
            raise UserError(f"{word}: the sweep sets {key} for each network. Remove this flag")
        values = {json.dumps(settings.get(key)) for settings in own}
        if len(values) > 1 and key not in {*NEUTRAL, "num_epochs", "num_steps"}:
            raise UserError(
                f"{word} cannot override {key}: the members set different values"
                f" ({', '.join(sorted(values))}). Edit the sweep's file"
            )


def _evaluation(
    directory: epath.Path, nets: Sequence[epath.Path], sweep: Sweep, config: ConfigDict
) -> tuple[str, ...]:
    workdirs = (f"--workdir={net}" for net in nets)
    # Evaluation reads only data that its command line names, or that lies in the default cache.
    locations = ((key, config.data[key]) for key in ("source", "cache_dir", "cache_from"))
    data = [f"--config.data.{key}={value}" for key, value in locations if value is not None]
    return (*workdirs, *data, f"--views={sweep.views}", f"--json={directory / EVALUATION}")


def is_done(task: Task) -> bool:
    """Return whether a task has a result that is up to date with its settings."""
    return evaluation(task.directory) is not None and difference(task) is None


def waves(tasks: Sequence[Task]) -> list[list[int]]:
    """Return the indices of the tasks that are not done, in groups.

    The tasks of a group can run at the same time, after those of the groups before it.
    """
    wave: dict[epath.Path, int] = {}
    for task in tasks:
        if not is_done(task):
            wave[task.directory] = 1 + max((wave.get(net.directory, -1) for net in task.needs), default=-1)
    return [
        [index for index, task in enumerate(tasks) if wave.get(task.directory) == number]
        for number in range(1 + max(wave.values(), default=-1))
    ]


def difference(task: Task) -> str | None:
    """Return why the result of a task is out of date; None if it is current, or if there is none."""
    found = evaluation(task.directory)
    if found is None:
        return None
    if f"--views={found['views']}" not in task.evaluate:
        return f"it was tested with {found['views']} view(s)"
    for net in task.needs:
        if problem := difference(net):
            return f"it needs {net.directory.name}, whose result is out of date: {problem}"
    if task.config is None:  # an ensemble: compare with the networks as they are now
        now = [result for net in task.needs if (result := evaluation(net.directory)) is not None]
        same = _names_and_steps([found]) == _names_and_steps(now)
        return None if same else "its networks have changed since it was tested"
    changed = changes(task)
    if changed is None:
        return "its config.json can't be read"
    if changed:
        key, old, new = changed[0]
        return f"it was trained with {key} = {old}, not {new}"
    started = _other_start(task)
    return started and f"it {started}"


def obstacle(task: Task) -> str | None:
    """Return why training cannot resume in the directory of a task; None if it can, or has not started.

    A longer training is no obstacle, and neither is another path to the data: the training compares the
    images themselves.
    """
    if task.config is None or not saved_steps(task.directory):
        return None
    for key, old, new in changes(task) or ():
        later = key in ("num_epochs", "num_steps") and (new is None or (old is not None and new > old))
        if not later and key != "data.source":
            return (
                f"{task.directory} holds a network with {key} = {old}, not {new}: delete this directory,"
                " or give the member another name"
            )
    started = _other_start(task)
    return started and f"{task.directory} holds a network that {started}: delete this directory"


def changes(task: Task) -> list[tuple[str, Any, Any]] | None:
    """Return (key, old, new) of each setting that has changed since the training; None if unknown."""
    try:
        trained, _ = read_workdir(task.directory)
    except UserError:
        return None
    by_plateau = trained.schedule.name == "plateau"
    return [
        (key, old, new)
        for key, old, new in saved.changes(trained, task.config)
        if (key not in NEUTRAL or (by_plateau and key in ("eval_every", "eval_every_epochs")))
        and not (key.endswith(".classes") and not new)
        and not (key == "init_from" and old and new and Path(old).name == Path(new).name)  # copied or moved
    ]


def _names_and_steps(results: Sequence[Evaluation]) -> list[tuple[str, int]]:
    """Return the name and the step of each tested checkpoint. They stay the same if a sweep is moved."""
    return [(Path(net["workdir"]).name, net["step"]) for result in results for net in result["checkpoints"]]


def _other_start(task: Task) -> str | None:
    """Describe the further training of the network that a task started from; None if there was none."""
    for net in task.needs:
        try:
            start: int = schema.read_json(task.directory / "init_from.json", Start)["step"]
        except (OSError, ValueError):
            return None
        now = max(saved_steps(net.directory), default=start)
        if now != start:
            return f"started from {net.directory.name} at step {start}, which is now at step {now}"
    return None
