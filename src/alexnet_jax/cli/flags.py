"""Flags of the verbs, and their parser. Nothing here imports JAX."""

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from absl import flags
from etils import epath
from ml_collections import ConfigDict

from alexnet_jax import files
from alexnet_jax.config import describe
from alexnet_jax.config.overrides import DATA_LOCATION, data_location, override
from alexnet_jax.config.recipe import load
from alexnet_jax.config.settings import BY_KEY
from alexnet_jax.config.validate import validate
from alexnet_jax.errors import RunError, UserError
from alexnet_jax.files import absolute, is_remote
from alexnet_jax.remote.paths import scheme
from alexnet_jax.runtime import progress

RECIPES = "RECIPE is a name that alexnet-jax recipes lists, or a file: FILE.py."


def config_flag(values: flags.FlagValues) -> None:
    """Define ``--config``."""
    text = "NAME[:VARIANT,...] of a recipe that alexnet-jax recipes lists, or FILE.py[:VARIANT,...]."
    flags.DEFINE_string("config", None, text, flag_values=values)


def workdir_flag(values: flags.FlagValues) -> None:
    """Define ``--workdir``."""
    flags.DEFINE_string("workdir", None, "Directory of the run or of the sweep.", flag_values=values)


def step_flag(values: flags.FlagValues) -> None:
    """Define ``--step``."""
    flags.DEFINE_string("step", "last", "Checkpoint: last, best or a number of steps.", flag_values=values)


def split_flag(values: flags.FlagValues) -> None:
    """Define ``--split``."""
    text = "Split: train, validation or test; by default test, or validation if the data has no test."
    flags.DEFINE_string("split", None, text, flag_values=values)


def views_flag(values: flags.FlagValues) -> None:
    """Define ``--views``."""
    text = "Views of each image: 1 (the centre crop) or 10 (the average over ten crops)."
    flags.DEFINE_integer("views", 1, text, flag_values=values)


def layer_flag(values: flags.FlagValues) -> None:
    """Define ``--layer``."""
    text = "Name of a layer: fc7 is before its ReLU, relu7 after it; by default the input of the classifier."
    flags.DEFINE_string("layer", None, text, flag_values=values)


def json_flag(values: flags.FlagValues) -> None:
    """Define ``--json``."""
    flags.DEFINE_string("json", None, "JSON file for the result.", flag_values=values)


def parse(
    verb: str,
    args: list[str],
    usage: str,
    *define: Callable[[flags.FlagValues], None],
    overrides: bool = False,
    paths: bool = False,
) -> tuple[flags.FlagValues, list[str], list[str]]:
    """Parse a command line into flags, words ``--config.KEY=VALUE``, and other words.

    Args:
      verb: name of the verb.
      args: words after the verb.
      usage: the verb's flags in short, and what it does.
      *define: functions that define the verb's flags.
      overrides: whether the verb takes ``--config.KEY=VALUE``.
      paths: whether the verb takes words that are not flags.

    Raises:
      UserError: the verb does not take a flag or a word.
      SystemExit: the command line asks for help, which has been printed.
    """
    values = flags.FlagValues()
    for each in define:
        each(values)
    if "--help" in args or "-h" in args:
        parts = [
            f"usage: alexnet-jax {verb} {usage}".replace(" \n", "\n"),
            values.get_help(include_special_flags=False).strip("\n"),
        ]
        if "config" in values:
            parts += [RECIPES, describe.text()]
        progress.show("\n\n".join(part for part in parts if part))
        raise SystemExit(0)
    settings, others = [], []
    remaining = list(args)
    while remaining:
        arg = re.sub(r"^-(?=config\.)", "--", remaining.pop(0))  # absl also accepts one dash
        if not arg.startswith("--config."):
            others.append(arg)
        elif "=" not in arg and remaining and not remaining[0].startswith("--"):
            settings.append(f"{arg}={remaining.pop(0)}")  # --config.KEY VALUE
        else:
            settings.append(arg)
    try:
        rest = values(["alexnet-jax", *others])[1:]
    except flags.Error as error:
        name = getattr(error, "flagname", None)  # of an unknown flag
        known = BY_KEY if "config" in values else DATA_LOCATION
        meant = f": did you mean --config.{name}?" if overrides and name in known else ""
        raise UserError(f"{verb}: {error}{meant}") from error
    if settings and not overrides:
        raise UserError(f"{verb} takes no --config.KEY=VALUE: remove {settings[0]}")
    if rest and not paths:
        raise UserError(f"{verb} takes only flags: remove {rest[0]!r}")
    return values, settings, rest


def required(value: Any, flag: str) -> Any:
    """Return the value of a flag that must be set."""
    if not value:
        raise UserError(f"{flag} is missing")
    return value


def check_views(views: int) -> None:
    """Check that ``--views`` is 1 or 10."""
    if views not in (1, 10):
        raise UserError(f"--views is {views}, but must be 1 or 10")


def check_file(flag: str, path: str | None) -> None:
    """Check before the work starts that the file of a flag can be written."""
    if not path:
        return
    file = absolute(path)
    if is_remote(file):
        check_bucket(file.parent)
        return
    try:
        files.check_writable(file, as_json=flag == "--json")
    except OSError as error:
        raise UserError(
            f"{flag}={path} can't be written ({error.strerror}): name a file in a folder that exists and can"
            " be written"
        ) from error


@contextlib.contextmanager
def writing(flag: str, path: str) -> Iterator[None]:
    """Raise a `RunError` of one line if the file of a flag can't be written."""
    try:
        yield
    except OSError as error:
        raise RunError(f"{flag}={path} can't be written: {error.strerror or error}") from error


def check_workdirs(*workdirs: str, writes: bool = False) -> None:
    """Check before JAX starts that workdirs can be used.

    Args:
      *workdirs: the paths.
      writes: whether the verb writes there.
    """
    for workdir in workdirs:
        path = absolute(workdir)
        if writes and is_remote(path):
            check_bucket(path)


def check_bucket(path: epath.Path) -> None:
    """Check that a bucket exists and can be written."""
    from alexnet_jax.remote.bucket import check_writable  # imports gcsfs, half a second

    check_writable(path)


def config_of(values: flags.FlagValues, overrides: list[str]) -> ConfigDict:
    """Return the checked config that a command line asks for."""
    config = override(load(required(values.config, "--config=RECIPE")), overrides)
    validate(config)
    if config.init_from is not None:
        check_workdirs(config.init_from)
    check_data(config.data)
    return config


def located(
    verb: str, config: ConfigDict, overrides: list[str], others: Sequence[str] = ()
) -> dict[str, Any]:
    """Return `data_location`, if a missing cache can be copied from where it says.

    Raises:
      UserError: see `data_location`; or there is nothing to copy.
    """
    data = data_location(verb, config, overrides, others)
    if "cache_from" in data:
        changed = config.data.copy_and_resolve_references()
        changed.update(data)
        check_data(changed)
    return data


def check_data(data: ConfigDict) -> None:
    """Check before JAX starts that a missing cache can be copied from ``data.cache_from``."""
    if data.cache_from is None:
        return
    from alexnet_jax.data.dataset import cache_path
    from alexnet_jax.data.publish import check_origin

    if scheme(data.cache_from) is None or cache_path(data).exists():
        absolute(data.cache_from)
    else:
        check_origin(data)
