"""Compiled programs stay from run to run, so that only the first run of a net waits for the compiler.

This is JAX's own persistent compilation cache, in the user's cache directory unless
``JAX_COMPILATION_CACHE_DIR`` says where; ``JAX_ENABLE_COMPILATION_CACHE=false`` does without. Its keys hold
the program, the releases of JAX, the devices and the processor's instructions, so that machines may share it.
"""

import contextlib
import os
import warnings
from pathlib import Path

import platformdirs

_MOST = 2**30  # bytes; some hundred nets
_DIRECTORY = "JAX_COMPILATION_CACHE_DIR"
_SHORTEST = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"


def use() -> None:
    """Sets the cache up; comes before JAX is imported. Where it can't be written, programs are compiled."""
    # A disk that is full, a file that a kill cut off: the program is compiled, and there is nothing to do.
    warnings.filterwarnings("ignore", r"Error (reading|writing) persistent compilation cache entry")
    if _DIRECTORY in os.environ:
        return
    directory = platformdirs.user_cache_path("alexnet-jax") / "programs"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _forget_oldest(directory)
    except OSError:
        return
    os.environ[_DIRECTORY] = str(directory)
    os.environ.setdefault(_SHORTEST, "0")  # a start has a dozen small programs too


def _forget_oldest(directory: Path) -> None:
    """Keeps the ``_MOST`` bytes that were compiled last. Other processes may be doing the same."""
    found = []
    for file in directory.glob("*-cache"):
        with contextlib.suppress(FileNotFoundError):
            found.append((file.stat(), file))
    size = 0
    for stat, file in sorted(found, key=lambda pair: pair[0].st_mtime, reverse=True):
        size += stat.st_size
        if size > _MOST:
            file.unlink(missing_ok=True)
