"""The files that a run writes beside its checkpoints: its config and the description of its data.

Nothing here imports JAX, so that a command can check a workdir before it waits for JAX.
"""

import os

from ml_collections import ConfigDict

from alexnet_jax import files
from alexnet_jax.config import saved
from alexnet_jax.data.cache import DataInfo
from alexnet_jax.errors import UserError
from alexnet_jax.files import absolute


def read_workdir(workdir: str | os.PathLike[str]) -> tuple[ConfigDict, DataInfo]:
    """Return the config of a workdir's run and the description of its data.

    Raises:
      UserError: the directory is no workdir, or one of its files can't be read.
    """
    path = absolute(workdir)
    if not (path / "config.json").exists():
        raise UserError(f"{workdir} is no workdir: it has no config.json; train makes one")
    try:
        return saved.from_json((path / "config.json").read_text()), DataInfo.load(path)
    except UserError as error:
        raise UserError(f"{workdir}: {error}") from error
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise UserError(f"{workdir} is damaged: config.json or data.json can't be read ({error})") from error


def write_workdir(workdir: str | os.PathLike[str], config: ConfigDict, info: DataInfo) -> None:
    """Write what evaluation needs beside the parameters.

    Raises:
      UserError: the directory can't be written.
    """
    path = absolute(workdir)
    try:
        path.mkdir(parents=True, exist_ok=True)
        info.save(path)
        # The last file: a directory without it is no workdir.
        files.write(path / "config.json", saved.to_json(config).encode())
    except OSError as error:
        raise UserError(f"the workdir {workdir} can't be written: {error.strerror or error}") from error
