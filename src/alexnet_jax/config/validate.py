"""Checks of a config against the table of settings. Nothing here imports JAX."""

import math
import numbers
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from alexnet_jax.config.base import flat
from alexnet_jax.config.checks import step_range
from alexnet_jax.config.renamed import RENAMED_VALUES, new_name, unknown
from alexnet_jax.config.settings import BY_KEY, KINDS, OF_A_LAYER, Setting
from alexnet_jax.errors import UserError, near
from alexnet_jax.layers import LRN, BatchNorm, MapNorm
from alexnet_jax.net.shapes import config_shapes
from alexnet_jax.text import first_of

_TYPES: Mapping[type, tuple[type, ...]] = {
    bool: (bool,),
    int: (numbers.Integral,),
    float: (numbers.Real,),
    str: (str,),
    tuple: (tuple, list),
}


class UnknownSetting(UserError):
    """The error for a setting or a value that does not exist. Another version may have it."""


def validate(config: ConfigDict) -> None:
    """Check every setting, and those that must fit each other.

    Raises:
      UserError: a setting is wrong. The message names the first one and says what would be right.
    """
    check_each(config)
    data = config.data
    if data.crop_size > data.image_size:
        raise UserError(
            f"config.data.crop_size is {data.crop_size}, but must not be larger than"
            f" config.data.image_size, {data.image_size}"
        )
    if data.crop_scale and not data.random_crops:
        raise UserError(
            "config.data.crop_scale needs random crops: set config.data.random_crops=True, or crop_scale=()"
        )
    if config.num_steps is not None:
        check_profile(config, config.num_steps)
    _check_schedule(config)
    _check_batch(config)
    shapes = config_shapes(config)
    with_params = [t.layer.name for t in shapes if t.params]
    for name in config.optimizer.layers:
        if name not in with_params:
            raise UserError(
                f"config.optimizer.layers.{name} is not a layer with weights{near(name, with_params)}: there"
                f" are {', '.join(with_params)}"
            )


def _check_schedule(config: ConfigDict) -> None:
    schedule, epochs = config.schedule, config.num_epochs
    of_layers = [name for name, layer in config.optimizer.layers.items() if "boundaries" in layer]
    if schedule.name == "cosine" and (schedule.boundaries or of_layers):
        where = f"optimizer.layers.{of_layers[0]}" if of_layers else "schedule"
        raise UserError(
            f"config.schedule.name is cosine, which has no boundaries: remove config.{where}.boundaries, or"
            " set config.schedule.name=steps"
        )
    if config.num_steps is None and schedule.warmup_epochs >= epochs:
        raise UserError(
            f"config.schedule.warmup_epochs is {schedule.warmup_epochs}, but the run has only {epochs} epochs"
        )
    boundaries = [*schedule.boundaries]
    for name in of_layers:
        boundaries += config.optimizer.layers[name].boundaries
    if schedule.name == "steps" and boundaries and schedule.warmup_epochs > min(boundaries):
        raise UserError(
            f"config.schedule.warmup_epochs is {schedule.warmup_epochs}, but learning rates are already"
            f" reduced at epoch {min(boundaries)}: set a shorter warm-up, or later boundaries"
        )


def _check_batch(config: ConfigDict) -> None:
    batch, parts = config.batch_size, config.accumulation_steps
    if batch % parts:
        raise UserError(f"config.accumulation_steps is {parts}, but must divide config.batch_size, {batch}")
    norms = [layer for layer in config.net.layers if isinstance(layer, BatchNorm)]
    others = [layer.name for layer in config.net.layers if isinstance(layer, LRN | MapNorm)]
    if norms and others:
        raise UserError(
            f"net.layers has both batch normalization ({norms[0].name}) and response normalization"
            f" ({others[0]}): remove one of them"
        )
    if norms and batch == 1:
        raise UserError("config.batch_size is 1, but batch normalization needs at least 2 examples")
    for layer in norms:
        if batch % (layer.group or 1):
            raise UserError(
                f"net.layers: {layer.name}.group is {layer.group}, but must divide config.batch_size, {batch}"
            )
    of_the_batch = [layer.name for layer in norms if not layer.group]
    if parts > 1 and of_the_batch:
        group = math.gcd(128, batch // parts)
        flags = " ".join(f"--config.net.layers.{name}.group={group}" for name in of_the_batch)
        advice = (
            f"add {flags}" if group > 1 else "set fewer accumulation steps, and a group that divides a part"
        )
        raise UserError(
            f"config.accumulation_steps is {parts}, but a part lacks the statistics of the whole batch for"
            f" {first_of(of_the_batch)}: {advice}"
        )


def check_length(config: ConfigDict, total_steps: int, steps_per_epoch: int) -> None:
    """Check that the run is longer than its warm-up, and has the steps that ``config.profile`` names.

    Raises:
      UserError: it is too short.
    """
    warmup = round(config.schedule.warmup_epochs * steps_per_epoch)
    if warmup and warmup >= total_steps:
        raise UserError(
            f"config.schedule.warmup_epochs is {config.schedule.warmup_epochs}, which are {warmup:,} steps,"
            f" but the run has only {total_steps:,} steps: set a shorter warm-up, or train for longer"
        )
    check_profile(config, total_steps)


def check_profile(config: ConfigDict, total_steps: int) -> None:
    """Check that ``config.profile`` names steps of the run.

    Raises:
      UserError: the run ends before.
    """
    if config.profile is not None and step_range(config.profile)[1] > total_steps:
        raise UserError(f"config.profile is {config.profile}, but the run has only {total_steps:,} steps")


def check_each(config: ConfigDict) -> None:
    """Check the key, the type and the value of each setting.

    Raises:
      UserError: a setting is wrong. The message names the first one and says what would be right.
    """
    settings = dict(flat(config))
    for key in settings:
        if key not in BY_KEY and not key.startswith("optimizer.layers."):
            raise UnknownSetting(unknown(key))
    for key, setting in BY_KEY.items():
        if setting.type is dict:
            continue
        if key not in settings:
            raise UnknownSetting(f"config.{key} is missing: begin the recipe with alexnet_jax.config.base()")
        if key != "net.layers":
            _check(f"config.{key}", setting, settings[key])
    for name, overrides in config.optimizer.layers.items():
        where = f"config.optimizer.layers.{name}"
        if not isinstance(overrides, ConfigDict):
            raise UserError(f"{where} is {overrides}, but must be a table: set {where}.learning_rate=0.01")
        for key, value in overrides.items():
            if key in OF_A_LAYER:
                _check(f"{where}.{key}", OF_A_LAYER[key], value)
            elif now := new_name(f"optimizer.layers.{name}.{key}"):
                raise UnknownSetting(f"{where}.{key} does not exist: it is called {now} now")
            else:
                raise UnknownSetting(
                    f"{where}.{key} does not exist{near(key, OF_A_LAYER)}: there are {', '.join(OF_A_LAYER)}"
                )


def _check(name: str, setting: Setting, value: Any) -> None:
    if value is None and setting.default is None and setting.key in BY_KEY:
        return
    if new := RENAMED_VALUES.get(setting.key, {}).get(value if isinstance(value, str) else None):
        raise UnknownSetting(f"{name} is {value!r}, which is called {new!r} now")
    if setting.choices:
        if value not in setting.choices:
            raise UnknownSetting(f"{name} is {value!r}, but must be {' or '.join(setting.choices)}")
        return
    is_bool = isinstance(value, bool)
    if not isinstance(value, _TYPES[setting.type]) or (is_bool and setting.type is not bool):
        raise UserError(f"{name} is {value}, but must be {KINDS[setting.type]}")
    if setting.check is not None and not setting.check.holds(value):
        raise UserError(f"{name} is {value}, but must be {setting.check.meaning}")
