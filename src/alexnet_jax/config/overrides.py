"""From the words of a command line to a verb's flags and a config with ``--config.KEY=VALUE`` applied."""

import ast
import contextlib
import functools
import math
import os
import re
from collections.abc import Callable
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from alexnet_jax.config import recipe as config_lib
from alexnet_jax.errors import UserError, near
from alexnet_jax.files import absolute


def config_flag(values: flags.FlagValues) -> None:
    """``--config``."""
    flags.DEFINE_string("config", None, "FILE.py[:VARIANT[,VARIANT]]", flag_values=values)


def parse(
    verb: str, args: list[str], usage: str, *define: Callable[[flags.FlagValues], None]
) -> tuple[flags.FlagValues, list[str], list[str]]:
    """A verb's flags, its ``--config.KEY=VALUE``, and the words that are no flags.

    Raises:
      UserError: a flag that the verb has not.
      SystemExit: help was asked for, and is printed.
    """
    values = flags.FlagValues()
    for each in define:
        each(values)
    if "--help" in args or "-h" in args:
        settings = f"{_settings()}\n\n" if "config" in values else ""
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


def _settings() -> str:
    """Every ``--config.KEY`` with its default, for help."""
    known = [(key, value) for key, value in config_lib.flat(config_lib.base()) if key != "net.layers"]
    lines = (f"  --config.{key}={'' if value is None else value}" for key, value in known)
    return "\n".join(["settings, with what they are unless the recipe says otherwise:", *lines])


def required(value: Any, flag: str) -> Any:
    """The value of a flag that must be there."""
    if not value:
        raise UserError(f"{flag} is missing")
    return value


def weights_of(words: list[str] | None, workdirs: int) -> tuple[float, ...] | None:
    """``--weights``, a number for each workdir.

    Raises:
      UserError: another count of them, none that counts, or what is no number.
    """
    if words is None:
        return None
    try:
        weights = tuple(map(float, words))
    except ValueError:
        weights = ()
    if len(weights) != workdirs or not all(w >= 0 for w in weights) or not 0 < sum(weights) < math.inf:
        raise UserError(
            f"--weights is {','.join(words)}, but must be a number for each --workdir ({workdirs}),"
            " none negative, and not all zero"
        )
    return weights


def check_views(views: int) -> None:
    """``--views`` is one or ten."""
    if views not in (1, 10):
        raise UserError(f"--views is {views}, but must be 1 or 10")


def check_file(flag: str, path: str | None) -> None:
    """Check that the file that a flag names can be written, before the work is done."""
    if not path or "://" in path:
        return
    file = absolute(path)
    if file.is_dir() or not os.access(file.parent, os.W_OK):
        raise UserError(
            f"{flag}={path} can't be written: there is no such folder, it is read-only, or it is one itself"
        )


def config_of(values: flags.FlagValues, overrides: list[str]) -> ConfigDict:
    """The config that a command line asks for, checked."""
    config = override(config_lib.load(required(values.config, "--config=FILE.py")), overrides)
    config_lib.validate(config)
    return config


_KINDS = {
    bool: "true or false",
    float: "a number",
    int: "a whole number",
    str: "a word",
    tuple: "numbers in parentheses, as (1, 2)",
}


def override(config: ConfigDict, overrides: list[str]) -> ConfigDict:
    """The config with ``--config.KEY=VALUE`` applied: known keys and values of their types alone.

    Raises:
      UserError: another key, or another type.
    """
    known = dict(config_lib.flat(config))
    for word in overrides:
        key, _, value = word.removeprefix("--config.").partition("=")
        if key.startswith("net.layers"):
            raise UserError(f"{word}: layers change by variant, --config=FILE.py:VARIANT")
        if key.startswith("optimizer.layers.") and key.count(".") == 3:
            _, _, layer, setting = key.split(".")
            with contextlib.suppress(ValueError, SyntaxError):  # then it is text, which the check refuses
                value = ast.literal_eval(value)
            config.optimizer.layers.update({layer: {setting: value}})
            continue
        if key not in known:
            raise UserError(f"config.{key} does not exist{near(key, known)}")
        if not value:
            raise UserError(f"config.{key} is given no value: --config.{key}=VALUE")
        *sections, last = key.split(".")
        kind = functools.reduce(lambda section, name: section[name], sections, config).get_type(last)
        values = flags.FlagValues()
        argv = ["alexnet-jax", f"--config.{key}={value}"]
        try:
            holder = config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=argv)
            values(argv)
        except (flags.Error, TypeError, ValueError, SyntaxError) as error:
            raise UserError(
                f"config.{key} takes {_KINDS.get(kind, kind.__name__)}, not {value!r} (here {known[key]!r})"
            ) from error
        config = holder.value
    return config


_PLACES_OF_DATA = ("data.source", "data.cache_dir", "data.encoding")


def of_elsewhere(verb: str, config: ConfigDict, overrides: list[str]) -> ConfigDict:
    """A workdir's config with the place where its data lies on this machine, checked.

    Raises:
      UserError: anything else is to change.
    """
    for key in (word.removeprefix("--config.").partition("=")[0] for word in overrides):
        if key not in _PLACES_OF_DATA:
            raise UserError(f"config.{key} is the workdir's own; {verb} takes {', '.join(_PLACES_OF_DATA)}")
    config = override(config, overrides)
    config_lib.validate(config)
    return config
