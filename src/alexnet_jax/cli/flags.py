"""From the words of a command line to a verb's flags and its config. Nothing here imports JAX."""

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
from alexnet_jax.files import absolute


def config_flag(values: flags.FlagValues) -> None:
    """Define ``--config``."""
    text = "NAME[:VARIANT,...], a recipe that alexnet-jax recipes lists, or FILE.py[:VARIANT,...]."
    flags.DEFINE_string("config", None, text, flag_values=values)


def parse(
    verb: str, args: list[str], usage: str, *define: Callable[[flags.FlagValues], None]
) -> tuple[flags.FlagValues, list[str], list[str]]:
    """Return a verb's flags, its ``--config.KEY=VALUE``, and the words that are no flags.

    Raises:
      UserError: a flag that the verb does not have.
      SystemExit: after printing the help, if that is what the command line asks for.
    """
    values = flags.FlagValues()
    for each in define:
        each(values)
    if "--help" in args or "-h" in args:
        settings = f"{describe.text()}\n\n" if "config" in values else ""
        own = values.get_help(include_special_flags=False)
        print(f"alexnet-jax {verb}\n{own}\n\n{settings}{usage}", flush=True)
        raise SystemExit(0)
    overrides, others = [], []
    remaining = list(args)
    while remaining:
        arg = re.sub(r"^-(?=config\.)", "--", remaining.pop(0))  # absl takes one dash, too
        if not arg.startswith("--config."):
            others.append(arg)
        elif "=" not in arg and remaining and not remaining[0].startswith("--"):
            overrides.append(f"{arg}={remaining.pop(0)}")  # --config.KEY VALUE
        else:
            overrides.append(arg)
    try:
        rest = values(["alexnet-jax", *others])[1:]
    except flags.Error as error:
        raise UserError(f"{verb}: {error}") from error
    return values, overrides, rest


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
    if not path or "://" in path:
        return
    file = absolute(path)
    if file.is_dir() or not os.access(file.parent, os.W_OK):
        raise UserError(
            f"{flag}={path} can't be written: there is no such folder, it is read-only, or it is one itself"
        )


def config_of(values: flags.FlagValues, overrides: list[str]) -> ConfigDict:
    """Return the checked config that a command line asks for."""
    config = override(load(required(values.config, "--config=RECIPE")), overrides)
    validate(config)
    return config
