"""What a report is asked for, and the checks that need no JAX."""

import dataclasses

from etils import epath

from alexnet_jax.errors import UserError
from alexnet_jax.files import absolute
from alexnet_jax.sweep import spec as sweep_lib

_PICTURES = (".png", ".svg", ".pdf")


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a report is asked for.

    Attributes:
      workdir: the directory, as it was typed.
      step: checkpoint: ``last``, ``best`` or a number of updates.
      split: split to test on; None for test, or validation for data without test.
      views: number of crops of each image, 1 or 10.
      overrides: ``--config.data.KEY=VALUE``, which name the place of the data.
    """

    workdir: str
    step: str = "last"
    split: str | None = None
    views: int = 1
    overrides: tuple[str, ...] = ()


def check(workdir: str, figure: int | None, save: str | None) -> None:
    """Check what is asked for before anything is computed.

    Raises:
      UserError: the directory holds nothing to report, or the figure or the name of the file is wrong.
    """
    if figure == 2:
        raise UserError("figure 2 is the architecture, no picture: alexnet-jax train --dry_run prints it")
    if figure not in (None, 1, 3, 4):
        raise UserError(f"--figure is {figure}, but must be 1, 3 or 4")
    if figure is None:
        if save and not save.lower().endswith(".html"):
            raise UserError(f"--save={save}: a name that ends in .html is wanted")
    elif not save or not save.lower().endswith(_PICTURES):
        raise UserError(
            f"--figure={figure} needs --save=FILE{_PICTURES[0]}, {_PICTURES[1]} or {_PICTURES[2]}"
        )
    path = absolute(workdir)
    if not path.is_dir():
        raise UserError(f"there is no folder {workdir}")
    if figure == 1:
        sweep_lib.read(path)
    elif not is_sweep(path) and not (path / "config.json").exists():
        raise UserError(
            f"{workdir} holds neither a training nor a sweep: it has no config.json and no sweep.json"
        )
    elif figure is not None and is_sweep(path):
        raise UserError(f"{workdir} holds a sweep: figure {figure} takes the workdir of one of its nets")


def is_sweep(path: epath.Path) -> bool:
    """Return whether a directory holds a sweep."""
    return (path / "sweep.json").exists()
