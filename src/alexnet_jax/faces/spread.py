"""The record of several values in JSON."""

from collections.abc import Sequence
from typing import Any

from alexnet_jax.loops.probe import mean_and_error


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return the mean of some values, its standard error (None for a single value), and the values."""
    mean, error = mean_and_error(values)
    return {"mean": mean, "standard_error": error, "values": values}
