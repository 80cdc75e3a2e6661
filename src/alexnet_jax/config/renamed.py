"""Settings of earlier versions, and the message about a setting that does not exist."""

from collections.abc import Mapping
from typing import Any

from alexnet_jax.config.settings import BY_KEY
from alexnet_jax.errors import near

RENAMED: Mapping[str, str] = {
    "learning.rate": "optimizer.learning_rate",
    "learning.bias_rate": "optimizer.bias_learning_rate",
    "learning.momentum": "optimizer.momentum",
    "learning.weight_decay": "optimizer.weight_decay",
    "learning.bias_decay": "optimizer.bias_weight_decay",
    "learning.layers": "optimizer.layers",
    "learning.schedule": "schedule.name",
    "learning.factor": "schedule.factor",
    "learning.cuts_biases": "schedule.scale_biases",
    "learning.cuts": "schedule.boundaries",
    "learning.max_cuts": "schedule.max_reductions",
    "learning.patience": "schedule.patience",
    "learning.min_improvement": "schedule.min_improvement",
}
RENAMED_OF_A_LAYER: Mapping[str, str] = {
    "rate": "learning_rate",
    "bias_rate": "bias_learning_rate",
    "bias_decay": "bias_weight_decay",
    "cuts": "boundaries",
}
RENAMED_VALUES: Mapping[str, Mapping[Any, str]] = {
    "data.color_noise_reading": {"deviation": "standard_deviation"},
}


def new_name(key: str) -> str | None:
    """Return the new name of a setting of an earlier version; None if there was no such setting."""
    if key == "learning":
        return "optimizer.* or schedule.*"
    section, layers, rest = key.partition(".layers.")
    if layers and section in ("learning", "optimizer"):
        layer, _, last = rest.partition(".")
        now = f"optimizer.layers.{layer}" + (f".{RENAMED_OF_A_LAYER.get(last, last)}" if last else "")
        return now if now != key else None
    return RENAMED.get(key)


def unknown(key: str) -> str:
    """Return the message about a setting that does not exist, with its new name or similar names."""
    if key.startswith("optimizer.layers"):
        example = "optimizer.layers.fc8.learning_rate"
        return f"config.{key} is not a setting: name a layer and its setting, such as {example}"
    now = new_name(key)
    elsewhere = [known for known in BY_KEY if known.rpartition(".")[2] == key.rpartition(".")[2]]
    if now is not None:
        hint = f": it is called {now} now"
    elif elsewhere:
        hint = f" (did you mean {' or '.join(elsewhere)}?)"
    else:
        hint = near(key, BY_KEY)
    return f"config.{key} does not exist{hint}"
