"""The files in the directory of a sweep, and functions that read and write them. Nothing here imports JAX.

DIRECTORY/
    sweep.json                the flags of the sweep, its members and its ensembles
    table.md, table.json      the results, as `table.write` writes them
    MEMBER-seedN/             the workdir of a training, with the three files below
    ENSEMBLE/
        evaluation.json       the result of the test; absent before it
        failed.txt            the reason why the task has no valid result; absent if it has not failed
        stderr.log            standard error of the last command
"""

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import Any

from etils import epath

from alexnet_jax import files
from alexnet_jax.config.recipe import find
from alexnet_jax.config.settings import NEUTRAL
from alexnet_jax.errors import UserError
from alexnet_jax.sweep.spec import Ensemble, Member, Published, Sweep
from alexnet_jax.training.workdir import is_workdir

SWEEP, EVALUATION, FAILED, STDERR = "sweep.json", "evaluation.json", "failed.txt", "stderr.log"
_KEYS = {"split", "views", "examples", "top1_error", "top5_error", "checkpoints"}


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
    files.write(directory / SWEEP, (json.dumps(_identity(path, overrides) | typed, indent=1) + "\n").encode())


def read(directory: epath.Path) -> Sweep:
    """Read the sweep of a directory.

    Raises:
      UserError: the directory holds no sweep, or its ``sweep.json`` can't be read.
    """
    with _readable(directory):
        fields = json.loads((directory / SWEEP).read_text(), object_hook=_with_tuples)["sweep"]
        for row in (*fields["members"], *fields["ensembles"]):
            row["published"] = row["published"] and Published(**row["published"])
        fields["members"] = tuple(Member(**row) for row in fields["members"])
        fields["ensembles"] = tuple(Ensemble(**row) for row in fields["ensembles"])
        return Sweep(**fields)


def typed_flags(directory: epath.Path) -> list[str]:
    """Return the ``--config`` flags that a sweep was started with.

    Raises:
      UserError: the directory holds no sweep, or its ``sweep.json`` can't be read.
    """
    with _readable(directory):
        return list(json.loads((directory / SWEEP).read_text())["typed"])


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
    with _readable(directory):
        record = json.loads((directory / SWEEP).read_text())
        found = {key: record[key] for key in wanted}
    if found != wanted:
        before, now = (" ".join([each["config"], *each["overrides"]]) for each in (found, wanted))
        raise UserError(f"{directory} holds the sweep {before}, not {now}: take another --workdir")


def evaluation(directory: epath.Path) -> dict[str, Any] | None:
    """Return the JSON object that ``alexnet-jax evaluate`` wrote for a task; None if absent or damaged."""
    try:
        found = json.loads((directory / EVALUATION).read_text())
        return found if found.keys() >= _KEYS else None
    except (OSError, ValueError, AttributeError):
        return None


def failure(directory: epath.Path) -> str | None:
    """Return the reason why a task has no valid result; None if it has not failed."""
    path = directory / FAILED
    return path.read_text().strip() if path.exists() else None


def valid_evaluation(directory: epath.Path) -> dict[str, Any] | None:
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


@contextlib.contextmanager
def _readable(directory: epath.Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(
            f"{directory} holds no sweep (no {SWEEP}): create one with alexnet-jax sweep"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{directory / SWEEP} can't be read ({error}): delete this file") from error


def _with_tuples(found: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}
