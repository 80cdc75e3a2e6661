"""Divide this machine among the tasks of a sweep that run at the same time."""

import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from ml_collections import ConfigDict

from alexnet_jax.net.shapes import config_shapes
from alexnet_jax.runtime.cores import cores

_PROBE = (
    "import jax; found = jax.local_devices();"
    "print(found[0].platform, len({tuple(getattr(d, 'coords', (d.id,))) for d in found}))"
)
_WAIT = 120  # seconds for the devices; one host of several TPU hosts would wait for the others
_BASE = 0.6e9  # bytes of a process with a tiny network

Place: TypeAlias = dict[str, str]
"""Environment variables with which a process uses only a part of this machine."""


def places(configs: Sequence[ConfigDict]) -> list[Place]:
    """Divide this machine into equal places for tasks with these configs.

    There are as many places as tasks, cores or devices, whichever are fewest. On GPUs a place has at least
    the devices that every ``config.mesh`` names, and on TPUs it has one chip. On CPUs the free memory must
    suffice for all places, by an estimate. If XLA divides the CPU into several devices, there is one place.
    """
    if len(configs) < 2:
        return [{}]
    platform, count = _devices()
    needed = max(max(data, 1) * max(tower, 1) for data, tower in (config.mesh for config in configs))
    if platform == "gpu":
        at_once = min(len(configs), count // needed)
        each = 2 ** int(math.log2(count // at_once)) if at_once else 0  # a power of two divides the batch
        names = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(count)))).split(",")
        found = [",".join(names[k * each : (k + 1) * each]) for k in range(at_once)]
        parts = [{"CUDA_VISIBLE_DEVICES": devices} for devices in found]
    elif platform == "tpu":
        parts = [_one_chip(k) for k in range(min(len(configs), count))] if needed == 1 else []
    elif count == 1:
        at_once = min(len(configs), cores(), int(_free_memory() // max(map(_memory, configs))))
        parts = [{"NPROC": str(cores() // at_once)} for _ in range(at_once)]  # read by XLA: its threads
    else:
        parts = []
    return parts if len(parts) > 1 else [{}]


def _devices() -> tuple[str, int]:
    """Return JAX's platform and its number of chips, from a process that ends and so occupies none of them.

    If JAX can't use any device, the number is 0, and the tasks will say what is wrong.
    """
    try:
        found = subprocess.run(
            [sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=_WAIT, check=True
        )
    except subprocess.SubprocessError:
        return "cpu", 0
    platform, count = found.stdout.split()[-2:]  # after what a library may print
    return platform, int(count)


def _one_chip(number: int) -> dict[str, str]:
    """Return the variables with which libtpu finds one chip: github.com/jax-ml/jax/issues/8809."""
    port = str(8476 + number)
    return {
        "TPU_VISIBLE_DEVICES": str(number),
        "TPU_CHIPS_PER_PROCESS_BOUNDS": "1,1,1",
        "TPU_PROCESS_BOUNDS": "1,1,1",
        "TPU_MESH_CONTROLLER_ADDRESS": f"localhost:{port}",
        "TPU_MESH_CONTROLLER_PORT": port,
    }


def _memory(config: ConfigDict) -> float:
    """Estimate the bytes of a training on a CPU: four copies of the parameters, two of the activations."""
    shapes = config_shapes(config)
    params = sum(math.prod(shape) for layer in shapes for shape in layer.params.values())
    activations = sum(math.prod(layer.outputs) for layer in shapes) * config.net.towers * config.batch_size
    return _BASE + 4 * (4 * params + 2 * activations)


def _free_memory() -> float:
    """Return the bytes of memory that are free or can be freed; infinity if the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        (kilobytes,) = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    except (OSError, ValueError):
        return math.inf
    return 1024 * float(kilobytes)
