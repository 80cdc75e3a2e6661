"""Divide this machine into slots, for the tasks of a sweep that run at the same time."""

import math
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import TypeAlias

from ml_collections import ConfigDict

from alexnet_jax.net.shapes import config_shapes
from alexnet_jax.runtime.limits import cores, free_memory

_PROBE = (
    "import jax; found = jax.local_devices();"
    "print(found[0].platform, len({tuple(getattr(d, 'coords', (d.id,))) for d in found}))"
)
_WAIT = 120  # seconds for the devices; one host of several TPU hosts would wait for the others
_BASE = 0.6e9  # bytes of a process with a tiny network

Slot: TypeAlias = dict[str, str]
"""Environment variables with which a process uses only a part of this machine."""


def slots(configs: Sequence[ConfigDict], most: int) -> list[Slot]:
    """Divide this machine into equal slots for tasks with these configs.

    There are as many slots as cores, GPUs or TPU chips, but at most ``most``. On GPUs a slot has at least the
    devices that every ``config.mesh`` names. A TPU is divided only if every chip gets a task. On CPUs the
    free memory must suffice for all slots, by an estimate. If XLA divides the CPU into several devices,
    there is one slot.

    Args:
      configs: configs of the tasks.
      most: the largest number of slots.
    """
    if most < 2:
        return [{}]
    platform, count = _devices()
    needed = max(max(data, 1) * max(tower, 1) for data, tower in (config.mesh for config in configs))
    if platform == "gpu":
        at_once = min(most, count // needed)
        # A power of two divides the batch.
        each = max(needed, 2 ** int(math.log2(count // at_once))) if at_once else 0
        names = _visible("CUDA_VISIBLE_DEVICES", count)
        found = [",".join(names[k * each : (k + 1) * each]) for k in range(at_once)]
        parts = [{"CUDA_VISIBLE_DEVICES": devices} for devices in found]
    elif platform == "tpu":
        chips = _visible("TPU_VISIBLE_CHIPS", count, older="TPU_VISIBLE_DEVICES")
        is_divided = needed == 1 and most >= count
        parts = [_one_chip(chip, 8476 + k) for k, chip in enumerate(chips)] if is_divided else []
    elif count == 1:
        at_once = int(min(most, cores(), free_memory() / max(map(_memory, configs))))
        parts = [{"NPROC": str(cores() // at_once)} for _ in range(at_once)]  # read by XLA: its threads
    else:
        parts = []
    return parts if len(parts) > 1 else [{}]


def _devices() -> tuple[str, int]:
    """Return JAX's platform and its number of chips, from a process that ends and so occupies none of them.

    If JAX can't use any device, the number is 0, and the tasks will report what is wrong.
    """
    try:
        found = subprocess.run(
            [sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=_WAIT, check=True
        )
    except subprocess.SubprocessError:
        return "cpu", 0
    platform, count = found.stdout.split()[-2:]  # after what a library may print
    return platform, int(count)


def _visible(variable: str, count: int, older: str = "") -> list[str]:
    """Return the devices that a variable of the environment names, or the one that is its older name."""
    named = os.environ.get(variable) or os.environ.get(older)
    return named.split(",") if named else [*map(str, range(count))]


def _one_chip(chip: str, port: int) -> Slot:
    """Return the variables with which libtpu finds one chip: github.com/jax-ml/jax/issues/8809."""
    return {
        "TPU_VISIBLE_CHIPS": chip,
        "TPU_VISIBLE_DEVICES": chip,
        "TPU_CHIPS_PER_PROCESS_BOUNDS": "1,1,1",
        "TPU_PROCESS_BOUNDS": "1,1,1",
        "TPU_MESH_CONTROLLER_ADDRESS": f"localhost:{port}",
        "TPU_MESH_CONTROLLER_PORT": str(port),
    }


def _memory(config: ConfigDict) -> float:
    """Estimate the bytes of a training on a CPU: four copies of the parameters, two of the activations."""
    shapes = config_shapes(config)
    params = sum(layer.size for layer in shapes)
    activations = sum(math.prod(layer.outputs) for layer in shapes) * config.net.towers * config.batch_size
    return _BASE + 4 * (4 * params + 2 * activations)
