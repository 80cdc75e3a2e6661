"""A cache of compiled programs, so that only the first run of a network waits for the compiler.

It is JAX's persistent compilation cache, in the user's cache directory unless ``JAX_COMPILATION_CACHE_DIR``
names another one; ``JAX_ENABLE_COMPILATION_CACHE=false`` disables it. Its keys contain the program, the
versions of JAX, the devices and the processor's instructions, so that machines may share it. XLA can't store
programs that use oneDNN (`runtime.compiler`), so these are compiled at each start.

JAX removes the least recently used programs; for that it needs the package filelock. A directory that the
user names may hold other projects' programs: its size is not limited unless
``JAX_COMPILATION_CACHE_MAX_SIZE`` is set.
"""

import os
import warnings

import platformdirs

_DIRECTORY = "JAX_COMPILATION_CACHE_DIR"
_SIZE = "JAX_COMPILATION_CACHE_MAX_SIZE"
_SECONDS = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"


def use() -> None:
    """Set up the cache before JAX is imported. If its directory cannot be written, use no cache."""
    # If the disk is full or a kill truncated a file, JAX compiles the program. The user need not act.
    warnings.filterwarnings("ignore", r"Error (reading|writing) persistent compilation cache entry")
    if _DIRECTORY not in os.environ:
        try:
            directory = platformdirs.user_cache_path("alexnet-jax").expanduser() / "programs"
            directory.mkdir(parents=True, exist_ok=True)
        except (OSError, RuntimeError):  # RuntimeError: the user has no home folder
            return
        os.environ[_DIRECTORY] = str(directory)
        os.environ.setdefault(_SIZE, str(2**30))  # bytes; a few hundred networks
    os.environ.setdefault(_SECONDS, "0")  # a start compiles a dozen small programs too
