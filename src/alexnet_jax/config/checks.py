"""The values that settings may have, besides the rules of their types."""

import re
from typing import Any

from alexnet_jax.schema import Rule

MOST_STEPS = 2**31 - 1
"""The largest number of a step, which JAX counts in 32 bits."""

_MOST_EPOCHS = 10**6
_MOST_PROFILED = 100  # steps; the profiler keeps them in memory


def is_rising(epochs: Any) -> bool:
    """Return whether these are positive numbers, each larger than the one before."""
    numbers = isinstance(epochs, tuple | list) and all(isinstance(x, int | float) for x in epochs)
    return numbers and all(a < b for a, b in zip((0, *epochs), (*epochs, _MOST_EPOCHS + 1), strict=True))


def _is_mesh(mesh: Any) -> bool:
    return len(mesh) == 2 and all(isinstance(n, int) and (n > 0 or n == -1) for n in mesh)


def _is_crop_scale(scale: Any) -> bool:
    numbers = all(isinstance(a, int | float) for a in scale)
    return len(scale) == 0 or (len(scale) == 2 and numbers and 0 < scale[0] <= scale[1] <= 1)


def step_range(text: str) -> tuple[int, int]:
    """Return the first and the last step of a range FIRST:LAST.

    Raises:
      ValueError: it is no such range, or it has more than 100 steps.
    """
    if (found := re.fullmatch(r"(\d{1,9}):(\d{1,9})", text, re.ASCII)) is None:
        raise ValueError(text)
    first, last = map(int, found.groups())
    if not 1 <= first <= last < first + _MOST_PROFILED:
        raise ValueError(text)
    return first, last


def _is_step_range(text: str) -> bool:
    try:
        return bool(step_range(text))
    except ValueError:
        return False


def _is_project(name: str) -> bool:
    return re.fullmatch(r"([^/\\#?%:\s]+/)?[^/\\#?%:]{1,128}", name) is not None


def _is_pair(names: Any) -> bool:
    return len(parts := names.split(",")) == 2 and all(part.strip() for part in parts)


COUNT = Rule("from 1 to 2**31 - 1", lambda x: 0 < x <= MOST_STEPS)
SIDE = Rule("from 1 to 4096", lambda x: 0 < x <= 4096)
EPOCHS = Rule("positive and at most 10**6", lambda x: 0 < x <= _MOST_EPOCHS)
EPOCH = Rule("from 0 to 10**6", lambda x: 0 <= x <= _MOST_EPOCHS)
SCALE = Rule("from 0 to 10**6", lambda x: 0 <= x <= 10**6)
FRACTION = Rule("at least 0 and below 1", lambda x: 0 <= x < 1)
RISING = Rule("positive epochs in rising order, at most 10**6", is_rising)
MESH = Rule("two numbers (data, tower), each positive or -1", _is_mesh)
CROP_SCALE = Rule(
    "empty, or the smallest and the largest fraction of the image's area, such as (0.08, 1.0)", _is_crop_scale
)
STEP_RANGE = Rule("FIRST:LAST, steps from 1 on and at most 100 of them", _is_step_range)
PROJECT = Rule("PROJECT or ENTITY/PROJECT", _is_project)
PAIR = Rule("two names, such as image,fine_label", _is_pair)
