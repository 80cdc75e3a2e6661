"""Keep compiled programs from run to run, so that only the first run of a network waits for the compiler.

This is JAX's persistent compilation cache, in the user's cache directory unless ``JAX_COMPILATION_CACHE_DIR``
names another one; ``JAX_ENABLE_COMPILATION_CACHE=false`` disables it. Its keys contain the program, the
versions of JAX, the devices and the processor's instructions, so that machines may share it. JAX removes the
programs that were not used for longest, for which it needs the package filelock.
"""

import os
import warnings

import platformdirs

_DIRECTORY = "JAX_COMPILATION_CACHE_DIR"
_DEFAULTS = {
    "JAX_COMPILATION_CACHE_MAX_SIZE": str(2**30),  # bytes; some hundred networks
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",  # a start compiles a dozen small programs too
}


def use() -> None:
    """Set up the cache, before JAX is imported. If its directory cannot be written, do without."""
    # A full disk, or a file that a kill cut off: the program is compiled, and there is nothing to do.
    warnings.filterwarnings("ignore", r"Error (reading|writing) persistent compilation cache entry")
    if _DIRECTORY in os.environ:
        return
    directory = platformdirs.user_cache_path("alexnet-jax") / "programs"
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    os.environ[_DIRECTORY] = str(directory)
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
