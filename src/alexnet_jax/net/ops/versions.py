"""The choice between the definition of an operation and its faster versions for platforms."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from jax import lax

_definitions = ContextVar("definitions", default=False)


def by_platform(*args: Any, default: Callable[..., Any], **versions: Callable[..., Any]) -> Any:
    """Call the version for the platform, as `lax.platform_dependent` does; in `definitions`, the default.

    Args:
      *args: arguments of each version.
      default: the definition.
      **versions: the versions for ``cpu``, ``cuda`` or ``tpu``.
    """
    if only_definitions():
        return default(*args)
    return lax.platform_dependent(*args, default=default, **versions)


def only_definitions() -> bool:
    """Return whether this is traced in `definitions`."""
    return _definitions.get()


@contextlib.contextmanager
def definitions() -> Iterator[None]:
    """Trace only definitions, so that one program suits all platforms. Compiled functions do not change."""
    before = _definitions.set(True)
    try:
        yield
    finally:
        _definitions.reset(before)


@functools.cache
def has_amx(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether the CPU has AMX instructions for bfloat16. Only Linux says so; elsewhere, False."""
    return cpuinfo.exists() and "amx_bf16" in cpuinfo.read_text()
