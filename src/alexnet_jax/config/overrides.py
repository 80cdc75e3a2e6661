"""Apply ``--config.KEY=VALUE`` to a config. Nothing here imports JAX."""

import ast
import contextlib
import functools

from absl import flags
from ml_collections import ConfigDict, config_flags

from alexnet_jax.config.base import flat
from alexnet_jax.config.settings import KINDS, unknown
from alexnet_jax.config.validate import validate
from alexnet_jax.errors import UserError


def override(config: ConfigDict, overrides: list[str]) -> ConfigDict:
    """Return the config with ``--config.KEY=VALUE`` applied.

    Raises:
      UserError: a key that does not exist, or a value of another type.
    """
    known = dict(flat(config))
    for word in overrides:
        key, _, value = word.removeprefix("--config.").partition("=")
        if key.startswith("net.layers"):
            raise UserError(f"{word}: layers change by variant, --config=RECIPE:VARIANT")
        if key.startswith("optimizer.layers.") and key.count(".") == 3:
            _, _, layer, setting = key.split(".")
            with contextlib.suppress(ValueError, SyntaxError):  # then it is text, which the check refuses
                value = ast.literal_eval(value)
            config.optimizer.layers.update({layer: {setting: value}})
            continue
        if key not in known:
            raise UserError(unknown(key))
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
                f"config.{key} takes {KINDS.get(kind, kind.__name__)}, not {value!r} (here {known[key]!r})"
            ) from error
        config = holder.value
        config.unlock()  # the parser locks it, and layers may be added below
    return config


_DATA_LOCATION = ("data.source", "data.cache_dir", "data.encoding")


def of_elsewhere(verb: str, config: ConfigDict, overrides: list[str]) -> ConfigDict:
    """Return a workdir's checked config with the location of its data on this machine.

    Raises:
      UserError: an override changes anything else.
    """
    for key in (word.removeprefix("--config.").partition("=")[0] for word in overrides):
        if key not in _DATA_LOCATION:
            raise UserError(f"config.{key} is the workdir's own; {verb} takes {', '.join(_DATA_LOCATION)}")
    config = override(config, overrides)
    validate(config)
    return config
