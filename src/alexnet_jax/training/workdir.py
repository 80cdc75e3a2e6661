"""The files that a run writes besides its checkpoints: its config and the description of its data.

Nothing here imports JAX, so that a command can check a workdir before it waits for JAX.
"""

import json
import os
import zlib
from typing import Any, TypedDict

from etils import epath
from ml_collections import ConfigDict

from alexnet_jax import files, schema
from alexnet_jax.config import saved
from alexnet_jax.data.cache import DataInfo
from alexnet_jax.errors import RunError, UserError
from alexnet_jax.files import absolute
from alexnet_jax.schema import Checksum, Count, short

COMMITTED = "commit_success.txt"  # Orbax writes it last into a checkpoint in a bucket
_LONGEST = 500  # characters of the reason why a workdir can't be read


class Start(TypedDict):
    """The content of ``init_from.json``: the checkpoint that a run started from."""

    workdir: str
    step: Count


def is_workdir(path: epath.Path) -> bool:
    """Return whether a directory is the workdir of a run."""
    return (path / "config.json").exists()


def saved_steps(path: epath.Path) -> list[int]:
    """Return the steps of a workdir's finished checkpoints in rising order, without reading them."""
    directory = path / "checkpoints"
    found = directory.iterdir() if directory.is_dir() else ()
    return sorted(
        int(each.name)
        for each in found
        if each.name.isascii() and each.name.isdigit()
        if not files.is_remote(each) or (each / COMMITTED).exists()
    )


def read_workdir(workdir: str | os.PathLike[str]) -> tuple[ConfigDict, DataInfo]:
    """Return the config of a workdir's run and the description of its data.

    Raises:
      UserError: the directory is no workdir, or one of its files can't be read, has a wrong checksum, or has
        content that no run writes.
      RunError: the system can't read a file that may be intact.
    """
    path = absolute(workdir)
    if not is_workdir(path):
        raise UserError(f"{workdir} is no workdir: it has no config.json, which alexnet-jax train writes")
    try:
        config, checksums = _read_config(path)
        info = DataInfo.load(path, checksums)
        if (config.data.image_size,) * 2 != info.image_size or config.data.encoding != info.encoding:
            raise ValueError("config.json and data.json describe images of different sizes or encodings")
        if config.net.layers[-1].classes < len(info.class_names):
            raise ValueError("the network of config.json has fewer outputs than data.json has classes")
    except UserError as error:
        raise UserError(f"{workdir}: {short(error, _LONGEST)}") from error
    except (OSError, ValueError) as error:
        if reason := files.failure(error):
            raise RunError(f"{workdir} can't be read ({reason}), and may be intact") from error
        what = short(files.explained(error), _LONGEST)
        raise UserError(
            f"{workdir} is damaged ({what}): restore its files from a copy; or, to continue training, delete"
            " its config.json and run the same train command again, which resumes from the last checkpoint"
        ) from error
    return config, info


def write_workdir(workdir: str | os.PathLike[str], config: ConfigDict, info: DataInfo) -> None:
    """Write everything that evaluation needs besides the parameters.

    ``config.json`` is last, because a directory without it is no workdir, and holds the checksums of all
    files. The others are written once, because a run never changes its data. So a process that is killed
    between two files leaves a workdir that is intact.

    Raises:
      UserError: the directory can't be written.
    """
    path = absolute(workdir)
    with files.creating("the workdir", path):
        path.mkdir(parents=True, exist_ok=True)
        checksums = _read_config(path)[1] if is_workdir(path) else info.save(path)
        settings = saved.to_json(config)
        content = {"checksums": checksums | {"config.json": _checksum(settings)}} | settings
        files.write(path / "config.json", files.as_json(content))


def _read_config(path: epath.Path) -> tuple[ConfigDict, dict[str, int]]:
    """Return the content of ``config.json``: the config, and the checksums of all files."""
    settings: dict[str, Any] = schema.read_json(path / "config.json", dict[str, Any])
    found = settings.pop("checksums", None)
    checksums: dict[str, int] = schema.check(found or {}, dict[str, Checksum], "config.json: checksums")
    if found is not None and checksums.get("config.json") != _checksum(settings):
        raise ValueError("config.json has a wrong checksum")
    config = saved.from_json(settings)
    if found is None:
        raise saved.other_version("it has no checksums")
    return config, checksums


def _checksum(settings: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(settings, sort_keys=True).encode())
