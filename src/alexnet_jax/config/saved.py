"""The configs of workdirs: their JSON, and their changes when a run resumes. Nothing here imports JAX."""

import json
import math
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from alexnet_jax import schema
from alexnet_jax.config.base import base, flat
from alexnet_jax.config.renamed import unknown
from alexnet_jax.config.settings import ADDED, NEUTRAL, resume_of
from alexnet_jax.config.validate import UnknownSetting, validate
from alexnet_jax.errors import UserError
from alexnet_jax.layers import saved as saved_layers
from alexnet_jax.net.shapes import config_shapes

_MOST_PARAMETERS = 2**33  # most parameters of a network that is read from a file
_LONGEST = 4096  # characters of a setting; no path is longer


def to_json(config: ConfigDict) -> dict[str, Any]:
    """Return the settings of a workdir's ``config.json``."""
    settings = config.to_dict()
    settings["net"]["layers"] = saved_layers.to_json(settings["net"]["layers"])
    return json.loads(json.dumps(settings))  # tuples become lists


def from_json(found: dict[str, Any]) -> ConfigDict:
    """Return the config that `to_json` wrote. The settings have the types that `base` gives them.

    Raises:
      UserError: another version of this package wrote it, with other settings or layers.
      ValueError: it is damaged.
    """
    config = base()
    expected = {key for key, _ in flat(config)} | {"optimizer.layers"}
    there = _flat_json(found)
    if other := sorted({*there} - expected):
        raise other_version(unknown(other[0]))
    if lacking := sorted(expected - {*there} - NEUTRAL - ADDED):
        raise other_version(f"config.{lacking[0]} is missing")
    for key, value in there.items():
        if isinstance(value, str) and ("\0" in value or len(value) > _LONGEST):
            raise ValueError(f"config.json: {key} has a NUL character, or more than {_LONGEST:,} characters")
    try:
        config.net.layers = saved_layers.from_json(there.pop("net.layers"))
    except UserError as error:
        raise other_version(str(error)) from error
    overrides: dict[str, dict[str, Any]] = schema.check(
        there.pop("optimizer.layers"), dict[str, dict[str, Any]], "optimizer.layers"
    )
    try:
        config.optimizer.layers = ConfigDict(overrides)
        for key, value in there.items():
            *sections, name = key.split(".")
            section = config[sections[0]] if sections else config
            section[name] = tuple(value) if isinstance(value, list) else value
        validate(config)
        shapes = config_shapes(config)
    except UnknownSetting as error:
        raise other_version(str(error)) from error
    except (UserError, TypeError, AttributeError, KeyError, OverflowError) as error:  # ConfigDict's too
        raise ValueError(f"config.json: {error}") from error
    count = sum(each.size for each in shapes)
    if max(count, *(math.prod(each.outputs) for each in shapes)) > _MOST_PARAMETERS:
        raise ValueError(f"config.json: the network has more than {_MOST_PARAMETERS:,} parameters or outputs")
    return config


def _flat_json(found: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return settings by key; ``optimizer.layers`` stays whole."""
    settings: dict[str, Any] = {}
    for name, value in found.items():
        key = prefix + name
        if isinstance(value, dict) and key != "optimizer.layers":
            settings |= _flat_json(value, f"{key}.")
        else:
            settings[key] = value
    return settings


def other_version(why: str) -> UserError:
    """Return the error for a ``config.json`` of another version of this package."""
    return UserError(
        f"config.json was written by another version of alexnet_jax ({why}): train again in another"
        " --workdir, or use the version that wrote it"
    )


def settings(config: ConfigDict) -> dict[str, Any]:
    """Return every setting by its key, as in JSON; a layer's fields are ``net.layers.NAME.FIELD``."""
    found = dict(flat(config))
    for layer in saved_layers.to_json(found.pop("net.layers")):
        name = layer.pop("name")
        found |= {f"net.layers.{name}.{field}": value for field, value in layer.items()}
    found["net.layers"] = [layer.name for layer in config.net.layers]
    return json.loads(json.dumps(found))  # tuples become lists


def changes(old: ConfigDict, new: ConfigDict) -> list[tuple[str, Any, Any]]:
    """Return (key, old, new) of every setting that differs; keys as in `settings`."""
    a, b = settings(old), settings(new)
    return [(key, a.get(key), b.get(key)) for key in sorted({*a, *b}) if a.get(key) != b.get(key)]


def refuse_changes(old: ConfigDict, new: ConfigDict, workdir: object) -> list[str]:
    """Return a line for each setting that changes when a run resumes with another config.

    Raises:
      UserError: a setting that changed would make it another run.
    """
    changed = changes(old, new)
    for key, before, after in changed:
        if resume_of(key) == "no" and not (key == "init_from" and same_workdir(before, after)):
            raise UserError(
                f"{workdir} holds a run with {key} = {before}, but the config has {after}:"
                " use another --workdir, or the same setting"
            )
    return [f"{key}: {before} -> {after}" for key, before, after in changed]


def same_workdir(before: str | None, after: str | None) -> bool:
    """Return whether two values of ``init_from`` name the same workdir, which may have been moved since.

    A workdir that is no longer at the first path counts as moved if its name is the same.
    """
    if before is None or after is None:
        return before == after
    old, new = Path(before), Path(after)
    if old.exists():
        return new.exists() and old.samefile(new)
    return old.name == new.name
