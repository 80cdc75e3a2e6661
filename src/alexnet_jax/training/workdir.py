"""The files that a run writes besides its checkpoints: its config and the description of its data.

Nothing here imports JAX, so that a command can check a workdir before it waits for JAX.
"""

import os

from etils import epath
from ml_collections import ConfigDict

from alexnet_jax import files
from alexnet_jax.config import saved
from alexnet_jax.data.cache import DataInfo
from alexnet_jax.errors import UserError
from alexnet_jax.files import absolute


def is_workdir(path: epath.Path) -> bool:
    """Return whether a directory is the workdir of a run."""
    return (path / "config.json").exists()


def saved_steps(path: epath.Path) -> list[int]:
    """Return the steps of a workdir's finished checkpoints in rising order, without reading them."""
    directory = path / "checkpoints"
    names = [each.name for each in directory.iterdir()] if directory.is_dir() else []
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


def read_workdir(workdir: str | os.PathLike[str]) -> tuple[ConfigDict, DataInfo]:
    """Return the config of a workdir's run and the description of its data.

    Raises:
      UserError: the directory is no workdir, or one of its files can't be read.
    """
    path = absolute(workdir)
    if not is_workdir(path):
        raise UserError(f"{workdir} is no workdir: it has no config.json, which alexnet-jax train writes")
    try:
        return saved.from_json((path / "config.json").read_text()), DataInfo.load(path)
    except UserError as error:
        raise UserError(f"{workdir}: {error}") from error
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise UserError(f"{workdir} is damaged: config.json or data.json can't be read ({error})") from error


def write_workdir(workdir: str | os.PathLike[str], config: ConfigDict, info: DataInfo) -> None:
    """Write everything that evaluation needs besides the parameters.

    Raises:
      UserError: the directory can't be written.
    """
    path = absolute(workdir)
    try:
        path.mkdir(parents=True, exist_ok=True)
        info.save(path)
        # This file is last, because a directory without it is no workdir.
        files.write(path / "config.json", saved.to_json(config).encode())
    except OSError as error:
        raise UserError(f"the workdir {workdir} can't be written: {error.strerror or error}") from error
