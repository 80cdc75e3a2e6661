"""The request for a report, and the checks that need no JAX."""

import dataclasses
from collections.abc import Sequence

from alexnet_jax.errors import UserError
from alexnet_jax.files import absolute
from alexnet_jax.sweep import directory
from alexnet_jax.training.workdir import is_workdir

_PICTURES = (".png", ".svg", ".pdf")
_TAKEN = {1: (), 3: ("--step",), 4: ("--step", "--views", "--config")}
"""The options that each figure takes."""


@dataclasses.dataclass(frozen=True)
class Request:
    """A request for a report.

    Attributes:
      workdir: directory of a training or a sweep, as typed on the command line.
      step: checkpoint: ``last``, ``best`` or a number of updates.
      split: split to test on; None for test, or validation if the data has no test split.
      views: number of crops of each image, 1 or 10.
      overrides: flags ``--config.data.KEY=VALUE`` that locate the data.
    """

    workdir: str
    step: str = "last"
    split: str | None = None
    views: int = 1
    overrides: tuple[str, ...] = ()


def check(workdir: str, figure: int | None, save: str | None, options: Sequence[str]) -> None:
    """Check a request before anything is computed.

    Args:
      workdir: directory of a training or a sweep.
      figure: number of a figure; None for a page.
      save: file to write; None for the default.
      options: the given flags of ``--step``, ``--split``, ``--views`` and ``--config``.

    Raises:
      UserError: the directory holds nothing to report, or the figure or the name of the file is wrong.
    """
    if figure == 2:
        raise UserError("figure 2, the architecture, is not drawn: print it with alexnet-jax train --dry_run")
    if figure not in (None, 1, 3, 4):
        raise UserError(f"--figure is {figure}, but must be 1, 3 or 4")
    if figure is not None:
        _refuse(f"--figure={figure}", _TAKEN[figure], options)
    if figure is None:
        if save and not save.lower().endswith(".html"):
            raise UserError(f"--save={save}: the name must end in .html")
    elif not save or not save.lower().endswith(_PICTURES):
        raise UserError(
            f"--figure={figure} needs --save=FILE{_PICTURES[0]}, {_PICTURES[1]} or {_PICTURES[2]}"
        )
    path = absolute(workdir)
    if not path.is_dir():
        raise UserError(f"there is no folder {workdir}")
    if figure == 1:
        directory.read(path)
    elif directory.is_sweep(path):
        if figure is not None:
            raise UserError(
                f"{workdir} holds a sweep, but figure {figure} needs the workdir of one of its networks"
            )
        _refuse("the report of a sweep", (), options)
    elif not is_workdir(path):
        raise UserError(
            f"{workdir} holds neither a training nor a sweep: it has no config.json and no sweep.json"
        )


def _refuse(what: str, taken: Sequence[str], options: Sequence[str]) -> None:
    for option in options:
        if not option.startswith(tuple(taken)):
            raise UserError(f"{what} takes no {option}: remove it")
