"""The files in the directory of a sweep, and functions that read and write them. Nothing here imports JAX.

DIRECTORY/
    sweep.json                the flags of the sweep, its members and its ensembles
    table.md, table.json      the results, as `table.write` writes them
    MEMBER-seedN/             the workdir of a training, with the three files below, and
        events.out.tfevents.hparams   its settings and its result for TensorBoard
    ENSEMBLE/
        evaluation.json       the result of the test; absent before it
        failed.txt            the reason why the task has no valid result; absent if it has not failed
        stderr.log            standard error of the last command
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from etils import epath

from alexnet_jax import files, schema
from alexnet_jax.config.recipe import find
from alexnet_jax.config.settings import NEUTRAL
from alexnet_jax.errors import UserError
from alexnet_jax.schema import Count, Fraction, Positive, Split, Views
from alexnet_jax.sweep.spec import Sweep, check
from alexnet_jax.training.workdir import is_workdir

SWEEP, EVALUATION, FAILED, STDERR = "sweep.json", "evaluation.json", "failed.txt", "stderr.log"
_LONGEST = 2**16  # bytes of a reason


class Record(TypedDict):
    """The content of ``sweep.json``.

    ``config`` and ``overrides`` identify the sweep. ``typed`` has its flags as they were typed.
    """

    config: str
    overrides: list[str]
    typed: list[str]
    sweep: Sweep


class Network(TypedDict):
    """A checkpoint that was tested."""

    workdir: str
    step: Count


class Evaluation(TypedDict):
    """The content of ``evaluation.json``, as `loops.evaluate.Evaluation` describes it."""

    split: Split
    views: Views
    examples: Positive
    loss: float
    top1_error: Fraction
    top5_error: Fraction
    checkpoints: list[Network]


def is_sweep(path: epath.Path) -> bool:
    """Return whether a directory holds a sweep."""
    return (path / SWEEP).exists()


def write(directory: epath.Path, path: str, sweep: Sweep, overrides: Sequence[str]) -> None:
    """Write ``sweep.json``: what identifies a sweep, its flags, its members and its ensembles.

    Args:
      directory: directory of the sweep; it must exist.
      path: recipe of the sweep, as typed on the command line.
      sweep: sweep of the recipe.
      overrides: flags ``--config.KEY=VALUE`` for all members.
    """
    typed = {"typed": [f"--config={path}", *overrides], "sweep": dataclasses.asdict(sweep)}
    files.write(directory / SWEEP, files.as_json(_identity(path, overrides) | typed))


def read(directory: epath.Path) -> Sweep:
    """Read the sweep of a directory.

    Raises:
      UserError: the directory holds no sweep, or its ``sweep.json`` can't be read.
    """
    sweep = _record(directory)["sweep"]
    members = tuple(dataclasses.replace(m, settings=_with_tuples(m.settings)) for m in sweep.members)
    sweep = dataclasses.replace(sweep, members=members)
    check(str(directory / SWEEP), sweep)
    return sweep


def _with_tuples(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with the tuples that JSON stores as lists."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}


def typed_flags(directory: epath.Path) -> list[str]:
    """Return the ``--config`` flags that a sweep was started with.

    Raises:
      UserError: the directory holds no sweep, or its ``sweep.json`` can't be read.
    """
    return _record(directory)["typed"]


def refuse_another(path: str, overrides: Sequence[str], directory: epath.Path) -> None:
    """Refuse a directory that holds a training or another sweep.

    Args:
      path: recipe of the sweep.
      overrides: flags ``--config.KEY=VALUE`` for all members.
      directory: directory for the sweep; it need not exist.

    Raises:
      UserError: the directory holds a training, another sweep, or a ``sweep.json`` that can't be read.
    """
    if not is_sweep(directory):
        if is_workdir(directory):
            raise UserError(f"{directory} holds a training, not a sweep: take another --workdir")
        return
    wanted = _identity(path, overrides)
    record = _record(directory)
    found: dict[str, Any] = {"config": record["config"], "overrides": record["overrides"]}
    if found != wanted:
        before, now = (" ".join([each["config"], *each["overrides"]]) for each in (found, wanted))
        raise UserError(f"{directory} holds the sweep {before}, not {now}: take another --workdir")


def evaluation(directory: epath.Path) -> Evaluation | None:
    """Return the JSON object that ``alexnet-jax evaluate`` wrote for a task; None if absent or damaged."""
    try:
        return schema.read_json(directory / EVALUATION, Evaluation)
    except (OSError, ValueError):
        return None


def failure(directory: epath.Path) -> str | None:
    """Return the reason why a task has no valid result; None if it has not failed.

    The reason is shown on pages and in tables. So it is not read through a link, from a file elsewhere.
    """
    if not files.is_remote(directory) and Path(directory / FAILED).is_symlink():
        return f"{FAILED} is a symbolic link"
    try:
        return files.read(directory / FAILED, _LONGEST).decode(errors="replace").strip()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        return f"{FAILED} can't be read ({error})"


def valid_evaluation(directory: epath.Path) -> Evaluation | None:
    """Return the `evaluation` of a task; None if the task failed or its result is out of date."""
    return None if failure(directory) is not None else evaluation(directory)


def note_failure(directory: epath.Path, reason: str | None) -> None:
    """Write the reason why a task has no valid result, or delete it if ``reason`` is None."""
    if reason is None:
        (directory / FAILED).unlink(missing_ok=True)
    else:
        files.write(directory / FAILED, f"{reason}\n".encode())


def _identity(path: str, overrides: Sequence[str]) -> dict[str, Any]:
    """Return what identifies a sweep: the name of its file, its variants and its settings, but no paths."""
    file, variants = find(path)
    free = {f"--config.{key}" for key in NEUTRAL}
    settings = sorted(word for word in overrides if word.partition("=")[0] not in free)
    return {"config": file.name + (f":{variants}" if variants else ""), "overrides": settings}


def _record(directory: epath.Path) -> Record:
    try:
        return schema.read_json(directory / SWEEP, Record)
    except FileNotFoundError as error:
        raise UserError(
            f"{directory} holds no sweep (no {SWEEP}): create one with alexnet-jax sweep"
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(f"{directory / SWEEP} can't be read ({error}): delete this file") from error
