"""JAX's devices, and one-line messages if they can't be used or if JAX does not use a GPU."""

import contextlib
import functools
import importlib.util
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import jax

from alexnet_jax.errors import NOTE, UserError
from alexnet_jax.runtime import device_errors, progress

# NVIDIA's driver creates these. A container may have only one of them. /dev/dxg is WSL2's.
_NVIDIA_FILES = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/dxg")
_PLUGINS = ("jax_cuda13_plugin", "jax_cuda12_plugin")


@functools.cache
def all_devices() -> tuple[jax.Device, ...]:
    """Return the devices of all processes; the first call initializes JAX's backend.

    If JAX runs on the CPU of a machine that has a GPU or the CUDA plugin, process 0 prints a note, unless
    ``JAX_PLATFORMS`` excludes GPUs. The note replaces JAX's log about CUDA, a traceback of some 40 lines if
    the driver is missing.

    Raises:
      UserError: JAX cannot use the platforms that ``JAX_PLATFORMS`` names.
    """
    with _captured_records() as records:
        try:
            found = tuple(jax.devices())
        # If JAX_PLATFORMS=cuda and there is no GPU, JAX 0.10.2 to 0.12.0.1 raise an empty AssertionError.
        except (RuntimeError, AssertionError) as error:
            failure = _cuda_failure(records)
            busy = device_errors.in_use(f"{error} {failure}")
            raise UserError(busy or _refusal(str(error), failure)) from error
    platforms = {device.platform for device in jax.local_devices()}
    note = _unused_gpu(_cuda_failure(records)) if platforms == {"cpu"} and _wants_gpu() else None
    if note and jax.process_index() == 0:
        progress.note(f"{NOTE}{note}")
    for record in records:
        if not (note and _is_about_cuda(record)):
            logging.getLogger(record.name).handle(record)
    return found


def lacks_bfloat16(device: jax.Device) -> bool:
    """Return whether a device is an NVIDIA GPU without bfloat16 and TF32: below compute capability 8.0."""
    capability = re.fullmatch(r"(\d+)\.\d+", str(getattr(device, "compute_capability", None)))
    return capability is not None and int(capability[1]) < 8


def _wants_gpu() -> bool:
    """Return whether ``JAX_PLATFORMS`` allows a GPU."""
    wanted = jax.config.values["jax_platforms"]
    return not wanted or bool({"cuda", "gpu"} & set(wanted.split(",")))


def _refusal(error: str, cuda_failure: str) -> str:
    """Describe why JAX cannot start, and what to do."""
    wanted = jax.config.values["jax_platforms"]
    if not wanted:
        return f"JAX cannot use this machine's devices: {error}"
    if wanted in ("cuda", "gpu") and not _has_plugin():
        return (
            f"JAX_PLATFORMS={wanted}, but JAX is installed without CUDA: {_install()}, or unset JAX_PLATFORMS"
        )
    if wanted in ("cuda", "gpu"):
        reason = cuda_failure or error.partition(" (set JAX_PLATFORMS")[0] or "there is no NVIDIA driver"
        return (
            f"JAX_PLATFORMS={wanted}, but JAX cannot use a GPU ({reason}): check that nvidia-smi lists it, or"
            " unset JAX_PLATFORMS"
        )
    return f"JAX_PLATFORMS={wanted}: {error or 'JAX finds no such device'}"


def _unused_gpu(cuda_failure: str) -> str | None:
    """Describe why JAX does not use a GPU, and what to do; None if the machine has neither GPU nor plugin."""
    has_gpu = any(Path(file).exists() for file in _NVIDIA_FILES)
    if _has_plugin():
        reason = cuda_failure or ("JAX cannot use the GPU" if has_gpu else "there is no NVIDIA driver")
        return (
            f"JAX's CUDA plugin is installed, but JAX runs on the CPU ({reason}): check that nvidia-smi lists"
            " the GPU; JAX_PLATFORMS=cpu hides this note"
        )
    return f"JAX does not use the GPU of this machine: {_install()}" if has_gpu else None


def _has_plugin() -> bool:
    return any(importlib.util.find_spec(name) for name in _PLUGINS)


def _install() -> str:
    return f"{sys.executable} -m pip install 'jax[cuda13]=={jax.__version__}'"


class _Collector(logging.Handler):
    """A handler that keeps log records instead of printing them."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@contextlib.contextmanager
def _captured_records() -> Iterator[list[logging.LogRecord]]:
    """Collect JAX's log records instead of printing them."""
    logger, collector = logging.getLogger("jax"), _Collector()
    handlers, propagate = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [collector], False
    try:
        yield collector.records
    finally:
        logger.handlers, logger.propagate = handlers, propagate


def _is_about_cuda(record: logging.LogRecord) -> bool:
    return "cuda" in record.getMessage().lower()


def _cuda_failure(records: list[logging.LogRecord]) -> str:
    """Return the last exception that JAX logged about CUDA, in one line; empty if there is none."""
    errors = [r.exc_info[1] for r in records if r.exc_info and r.exc_info[1] and _is_about_cuda(r)]
    return " ".join(str(errors[-1]).split()) or type(errors[-1]).__name__ if errors else ""
