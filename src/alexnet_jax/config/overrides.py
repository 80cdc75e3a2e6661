"""Overrides of a config, ``--config.KEY=VALUE``. Nothing here imports JAX."""

import ast
import copy
import functools
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from alexnet_jax.config.base import flat
from alexnet_jax.config.renamed import unknown
from alexnet_jax.config.settings import BY_KEY, KINDS
from alexnet_jax.config.validate import validate
from alexnet_jax.errors import UserError
from alexnet_jax.layers import replaced


def override(config: ConfigDict, overrides: list[str]) -> ConfigDict:
    """Return the config with ``--config.KEY=VALUE`` applied.

    The values of ``net.layers.LAYER.FIELD`` and ``optimizer.layers.LAYER.SETTING`` are not checked here:
    `validate` does.

    Raises:
      UserError: a key, a layer or its field does not exist, or a value has another type.
    """
    known = dict(flat(config))
    for word in overrides:
        key, _, value = word.removeprefix("--config.").partition("=")
        if key.startswith("net.layers.") and key.count(".") == 3:
            *_, layer, field = key.split(".")
            config.net.layers = replaced(config.net.layers, layer, **{field: _literal(value)})
            continue
        if key.startswith("net.layers"):
            raise UserError(
                f"{word}: only fields of layers can be overridden, such as net.layers.fc8.std; for other"
                " layers choose a variant, --config=RECIPE:VARIANT"
            )
        if key.startswith("optimizer.layers.") and key.count(".") == 3:
            *_, layer, setting = key.split(".")
            table = config.optimizer.layers
            if isinstance(before := table.get(layer, ConfigDict()), ConfigDict):  # else `validate` refuses it
                table[layer] = {**before, setting: _literal(value)}
            continue
        if key not in known:
            raise UserError(unknown(key))
        if not value:
            raise UserError(f"config.{key} has no value: write --config.{key}=VALUE")
        *sections, last = key.split(".")
        section = functools.reduce(lambda section, name: section[name], sections, config)
        if value == "None" and BY_KEY[key].default is None:
            section[last] = None
            continue
        kind = section.get_type(last)
        values = flags.FlagValues()
        argv = ["alexnet-jax", f"--config.{key}={value}"]
        try:
            holder = config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=argv)
            values(argv)
        except (flags.Error, TypeError, ValueError, SyntaxError) as error:
            raise UserError(
                f"config.{key} takes {KINDS.get(kind, kind.__name__)}, not {value!r}"
                f" (currently {known[key]!r})"
            ) from error
        config = holder.value
        config.unlock()  # the parser locks it, and layers may be added below
    return config


def _literal(text: str) -> Any:
    """Return the value that a text means in Python; otherwise the text, which the checks may refuse."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


DATA_LOCATION = ("data.source", "data.columns", "data.cache_dir", "data.cache_from", "data.encoding")


def data_location(
    verb: str, config: ConfigDict, overrides: list[str], others: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the settings of ``config.data`` that a command line sets to locate the data of a workdir.

    Args:
      verb: name of the verb, for messages.
      config: config of the workdir; it is not changed.
      overrides: flags ``--config.data.KEY=VALUE``.
      others: keys of other settings that the verb takes. They are checked, and left out of the result.

    Raises:
      UserError: a flag sets anything else, or has a wrong value.
    """
    keys = [word.removeprefix("--config.").partition("=")[0] for word in overrides]
    taken = (*DATA_LOCATION, *others)
    for key in keys:
        if key not in taken:
            raise UserError(f"config.{key} can't change after training: {verb} takes only {', '.join(taken)}")
    changed = override(copy.deepcopy(config), overrides)
    validate(changed)
    names = [key.removeprefix("data.") for key in keys if key not in others]
    return {name: changed.data[name] for name in names}
