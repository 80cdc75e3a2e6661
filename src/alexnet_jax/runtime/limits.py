"""The cores and the memory that this process may use, as the system and its container allow."""

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_MEMORY = Path("/proc/meminfo")
_FILE_CACHE = ("inactive_file ", "active_file ")  # what the system frees when memory is needed


def cores() -> int:
    """Return how many cores this process may use.

    A container with half a core of processor time has one. The variable ``NPROC``, which XLA reads too, can
    lower the number.
    """
    found: float = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        found = len(os.sched_getaffinity(0))
    with contextlib.suppress(ValueError):
        found = min(found, int(os.environ.get("NPROC", "")))
    for folder in _groups():
        try:
            quota, period = map(int, (folder / "cpu.max").read_text().split())
        except (OSError, ValueError):  # no such file, or "max"
            continue
        found = min(found, quota / period)
    return max(1, int(found))


def free_memory() -> float:
    """Return how many bytes of memory are free or can be freed; infinity if the system does not say."""
    found = math.inf
    try:
        lines = _MEMORY.read_text().splitlines()
        (kilobytes,) = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
        found = 1024 * float(kilobytes)
    except (OSError, ValueError):
        pass
    for folder in _groups():
        try:
            most, used = (int((folder / f"memory.{name}").read_text()) for name in ("max", "current"))
            lines = (folder / "memory.stat").read_text().splitlines()
            cached = sum(int(line.split()[1]) for line in lines if line.startswith(_FILE_CACHE))
        except (OSError, ValueError):  # no such file, or "max"
            continue
        found = min(found, most - used + cached)
    return found


def _groups() -> Iterator[Path]:
    """Yield the folders of the control group of this process and of those above it (cgroups, version 2)."""
    try:
        lines = _OWN.read_text().splitlines()
        (own,) = [line.removeprefix("0::").lstrip("/") for line in lines if line.startswith("0::/")]
    except (OSError, ValueError):
        return
    folder = _CGROUPS / own
    yield folder
    while folder != _CGROUPS:
        folder = folder.parent
        yield folder
