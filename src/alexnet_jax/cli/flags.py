"""Parse a command line into a verb's flags and its config. Nothing here imports JAX."""

import os
import re
from collections.abc import Callable
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from alexnet_jax.config import describe
from alexnet_jax.config.overrides import override
from alexnet_jax.config.recipe import load
from alexnet_jax.config.validate import validate
from alexnet_jax.errors import UserError
from alexnet_jax.files import absolute, is_remote


def config_flag(values: flags.FlagValues) -> None:
    """Define ``--config``."""
    text = "NAME[:VARIANT,...], a recipe that alexnet-jax recipes lists, or FILE.py[:VARIANT,...]."
    flags.DEFINE_string("config", None, text, flag_values=values)


def workdir_flag(values: flags.FlagValues) -> None:
    """Define ``--workdir``."""
    flags.DEFINE_string("workdir", None, "Directory of the run or of the sweep.", flag_values=values)


def step_flag(values: flags.FlagValues) -> None:
    """Define ``--step``."""
    flags.DEFINE_string("step", "last", "Checkpoint: last, best or a number.", flag_values=values)


def split_flag(values: flags.FlagValues) -> None:
    """Define ``--split``."""
    text = "train, validation or test; by default test, or validation for data without test."
    flags.DEFINE_string("split", None, text, flag_values=values)


def views_flag(values: flags.FlagValues) -> None:
    """Define ``--views``."""
    text = "1, the centre crop, or 10, the average over ten crops."
    flags.DEFINE_integer("views", 1, text, flag_values=values)


def json_flag(values: flags.FlagValues) -> None:
    """Define ``--json``."""
    flags.DEFINE_string("json", None, "File for the result.", flag_values=values)


def parse(
    verb: str,
    args: list[str],
    usage: str,
    *define: Callable[[flags.FlagValues], None],
    overrides: bool = False,
    paths: bool = False,
) -> tuple[flags.FlagValues, list[str], list[str]]:
    """Return a verb's flags, its ``--config.KEY=VALUE``, and the words that are no flags.

    Args:
      verb: its name.
      args: what follows it.
      usage: the end of its help.
      *define: functions that define its flags.
      overrides: whether it takes ``--config.KEY=VALUE``.
      paths: whether it takes words that are no flags.

    Raises:
      UserError: a flag or a word that the verb does not take.
      SystemExit: after printing the help, if that is what the command line asks for.
    """
    values = flags.FlagValues()
    for each in define:
        each(values)
    if "--help" in args or "-h" in args:
        text = f"{describe.text()}\n\n" if "config" in values else ""
        own = values.get_help(include_special_flags=False)
        print(f"alexnet-jax {verb}\n{own}\n\n{text}{usage}", flush=True)
        raise SystemExit(0)
    settings, others = [], []
    remaining = list(args)
    while remaining:
        arg = re.sub(r"^-(?=config\.)", "--", remaining.pop(0))  # absl takes one dash, too
        if not arg.startswith("--config."):
            others.append(arg)
        elif "=" not in arg and remaining and not remaining[0].startswith("--"):
            settings.append(f"{arg}={remaining.pop(0)}")  # --config.KEY VALUE
        else:
            settings.append(arg)
    try:
        rest = values(["alexnet-jax", *others])[1:]
    except flags.Error as error:
        raise UserError(f"{verb}: {error}") from error
    if settings and not overrides:
        raise UserError(f"{verb} takes no --config.KEY=VALUE, but {settings[0]} is given")
    if rest and not paths:
        raise UserError(f"{verb} takes flags alone, not {rest[0]!r}")
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
    """Check that the file that a flag names can be written, before the work starts."""
    if not path or is_remote(path):
        return
    file = absolute(path)
    if file.is_dir() or not os.access(file.parent, os.W_OK):
        raise UserError(
            f"{flag}={path} can't be written: there is no such folder, it is read-only, or it is one itself"
        )


def config_of(values: flags.FlagValues, overrides: list[str]) -> ConfigDict:
    """Return the config that a command line asks for, checked before the verb waits for JAX."""
    config = override(load(required(values.config, "--config=RECIPE")), overrides)
    validate(config)
    return config
