"""Start JAX on its devices, and say in one line what is wrong if they are not those of the machine."""

import contextlib
import importlib.util
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import jax

from alexnet_jax.errors import UserError

# What NVIDIA's driver creates. A container may have one of them alone.
_NVIDIA_FILES = ("/dev/nvidia0", "/dev/nvidiactl")
_PLUGINS = ("jax_cuda13_plugin", "jax_cuda12_plugin")


def start() -> None:
    """Initialize JAX's backend. Print a note if JAX does not use the GPU of this machine.

    JAX's own messages are held back if ours says the same: without a driver its CUDA plugin prints a
    traceback of some 40 lines.

    Raises:
      UserError: JAX cannot use the platforms that ``JAX_PLATFORMS`` names.
    """
    with _jax_messages() as messages:
        try:
            platforms = {device.platform for device in jax.local_devices()}
        # With JAX_PLATFORMS=cuda and no GPU, JAX 0.10.2 to 0.12.0.1 fail in an assertion without a text.
        except (RuntimeError, AssertionError) as error:
            raise UserError(_refusal(_reason(messages) or str(error))) from error
    note = None if jax.config.jax_platforms or "gpu" in platforms else _unused_gpu(_reason(messages))
    if note:
        print(f"alexnet-jax: note: {note}", file=sys.stderr)
    else:
        for message in messages:
            logging.getLogger(message.name).handle(message)


def _refusal(reason: str) -> str:
    """Why JAX cannot start, and what to do."""
    wanted = jax.config.jax_platforms
    if not wanted:
        return f"JAX cannot use this machine's devices: {reason}"
    if wanted not in ("cuda", "gpu"):
        return f"JAX_PLATFORMS={wanted}: {reason or 'JAX found no such device'}"
    if _has_plugin():
        problem = f"JAX finds no NVIDIA GPU{f' ({reason})' if reason else ''}: run nvidia-smi"
    else:
        problem = f"JAX is installed without CUDA: {_install()}"
    return f"JAX_PLATFORMS={wanted}, but {problem}, or unset JAX_PLATFORMS"


def _unused_gpu(reason: str) -> str | None:
    """Why JAX does not use an NVIDIA GPU, and what to do; None if there is nothing to use."""
    has_gpu = any(Path(file).exists() for file in _NVIDIA_FILES)
    if _has_plugin():
        cause = reason or ("JAX cannot use the GPU" if has_gpu else "there is no NVIDIA driver")
        return f"JAX has CUDA, but runs on the CPU ({cause}); nvidia-smi shows whether the driver works"
    return f"JAX does not use the GPU of this machine: {_install()}" if has_gpu else None


def _has_plugin() -> bool:
    return any(importlib.util.find_spec(name) for name in _PLUGINS)


def _install() -> str:
    return f"pip install 'jax[cuda13]=={jax.__version__}'"


class _Collector(logging.Handler):
    """Keep log records instead of printing them."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@contextlib.contextmanager
def _jax_messages() -> Iterator[list[logging.LogRecord]]:
    """Collect what JAX logs instead of printing it."""
    logger, collector = logging.getLogger("jax"), _Collector()
    logger.addHandler(collector)
    logger.propagate = False
    try:
        yield collector.records
    finally:
        logger.propagate = True
        logger.removeHandler(collector)


def _reason(messages: list[logging.LogRecord]) -> str:
    """The first line of the last exception that JAX logged."""
    errors = [str(message.exc_info[1]) for message in messages if message.exc_info]
    return errors[-1].splitlines()[0] if errors else ""
