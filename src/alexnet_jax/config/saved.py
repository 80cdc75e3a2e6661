"""Configs kept in workdirs: as JSON, and what may change when a run goes on. Nothing here imports JAX."""

import json
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from alexnet_jax import layers as layers_lib
from alexnet_jax.config.recipe import base, flat
from alexnet_jax.errors import UserError

# What may differ between a workdir's config and the one that goes on: how the paper was trained
# (rates by hand), when to stop and look, and where things lie. None of it changes what was done.
MAY_CHANGE = frozenset(
    [
        "num_epochs",
        "num_steps",
        *(
            every + unit
            for every in ("log_every", "eval_every", "checkpoint_every")
            for unit in ("", "_epochs")
        ),
        "keep_checkpoints",
        "mesh",
        "parallelism",
        "data.source",  # it may have moved: the data's fingerprint says whether it is the same
        "data.cache_dir",
        "data.max_broken",
    ]
)


def to_json(config: ConfigDict) -> str:
    """The text of a workdir's ``config.json``."""
    settings = config.to_dict()
    settings["net"]["layers"] = layers_lib.to_json(settings["net"]["layers"])
    return json.dumps(settings, indent=1) + "\n"


def from_json(text: str) -> ConfigDict:
    """The inverse of `to_json`; the settings have the types that `base` gives them."""
    settings = json.loads(text)
    settings["net"]["layers"] = layers_lib.from_json(settings["net"]["layers"])
    config = base()
    config.optimizer.layers = ConfigDict(settings["optimizer"].pop("layers"))
    for section, values in [
        (config, settings),
        *((config[k], settings.pop(k)) for k in ("data", "net", "optimizer", "schedule")),
    ]:
        for key, value in values.items():
            section[key] = tuple(value) if isinstance(value, list) else value
    return config


def settings(config: ConfigDict) -> dict[str, Any]:
    """Every setting by its key, as JSON has it; a layer's fields are ``net.layers.NAME.FIELD``."""
    found = dict(flat(config))
    for layer in layers_lib.to_json(found.pop("net.layers")):
        name = layer.pop("name")
        found |= {f"net.layers.{name}.{field}": value for field, value in layer.items()}
    found["net.layers"] = [layer.name for layer in config.net.layers]
    return json.loads(json.dumps(found))  # tuples and lists are the same


def changes(old: ConfigDict, new: ConfigDict) -> list[tuple[str, Any, Any]]:
    """(key, old, new) of every setting that differs; keys as in `settings`."""
    a, b = settings(old), settings(new)
    return [(key, a.get(key), b.get(key)) for key in sorted({*a, *b}) if a.get(key) != b.get(key)]


def refuse_changes(old: ConfigDict, new: ConfigDict, workdir: object) -> list[str]:
    """What changed, as lines for the log, when a run goes on with another config.

    Raises:
      UserError: a setting changed that would make it another run.
    """
    changed = changes(old, new)
    for key, before, after in changed:
        moved = key == "init_from" and before and after and _moved(Path(before), Path(after))
        if key not in MAY_CHANGE and not key.startswith(("optimizer.", "schedule.")) and not moved:
            raise UserError(
                f"{workdir} holds a run with {key} = {before}, the config says {after}:"
                " take another --workdir, or the same setting"
            )
    return [f"{key}: {before} -> {after}" for key, before, after in changed]


def _moved(before: Path, after: Path) -> bool:
    """Whether the second path is where a workdir lies now that lay at the first."""
    return before.name == after.name and (not before.exists() or before.samefile(after))
