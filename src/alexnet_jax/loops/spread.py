"""The mean and the standard error of several values."""

import math
import statistics
from collections.abc import Sequence
from typing import Any


def mean_and_error(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean and its standard error; None for the error of a single value."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return statistics.fmean(values), error


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return the mean of some values, its standard error (None for a single value), and the values."""
    mean, error = mean_and_error(values)
    return {"mean": mean, "standard_error": error, "values": values}
