"""Devices for the compiler, of hardware that may be absent.

A topology is a TPU slice with its shape (``v5e:16x16``), a number of GPUs in nodes of eight (``h100:8``), or
a number of CPU devices (``cpu:8``).
"""

import difflib
import math
import os
import re
from typing import Any

import jax
from jax.experimental import topologies

from alexnet_jax.errors import UserError
from alexnet_jax.runtime.chips import CHIPS, Chip

# A GpuTargetConfigProto of XLA. Its GPU compiler reads one from the card, if there is one. The figures are
# those of an H100 SXM5.
_H100_TARGET = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: 233472 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98
  device_memory_size: 84942979072 shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 } registers_per_core_limit: 65536 registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""


def chip_of(topology: str) -> Chip | None:
    """Return the published figures of the devices of a topology; None for CPUs, which have none."""
    return CHIPS.get(topology.partition(":")[0])


def devices_of(topology: str) -> list[jax.Device]:
    """Return devices to compile programs for. Call this before JAX initialises its own devices.

    Args:
      topology: name of the topology, such as ``v5e:2x4``, ``h100:8`` or ``cpu:8``.

    Raises:
      UserError: the topology does not exist, or its compiler is not installed.
    """
    kind, _, shape = topology.partition(":")
    _check(topology, kind, shape)
    jax.config.update("jax_platforms", "cpu")
    if kind == "cpu":
        jax.config.update("jax_num_cpu_devices", int(shape))
        return list(jax.devices())
    if kind == "h100":
        count, node = int(shape), CHIPS["h100"].per_host
        hosts = f"1x{count // node}x{node}" if count > node else f"1x1x{count}"
        try:
            return list(
                topologies.get_topology_desc(
                    "h100", "cuda", topology=hosts, target_config=_H100_TARGET
                ).devices
            )
        except NotImplementedError as error:
            raise UserError(
                "planning for H100s needs XLA's GPU compiler: pip install -e '.[plan-h100]'"
            ) from error
    # Without these libtpu looks for a TPU host, prints warnings, and puts one of them into the variable that
    # numbers this process. Commands that are started later would read it.
    os.environ.update(
        TPU_SKIP_MDS_QUERY="1",
        TPU_ACCELERATOR_TYPE="v5litepod-4",
        TPU_WORKER_HOSTNAMES="localhost",
        TPU_WORKER_ID="0",
        TPU_LOG_DIR="disabled",
        ALLOW_MULTIPLE_LIBTPU_LOAD="1",  # the compiler needs no TPU
    )
    options: dict[str, Any] = {"chips_per_host_bounds": (1, 1, 1)} if shape == "1x1" else {}
    if kind == "v4":
        options["chip_config_name"] = "megacore"  # a chip is one device, as on a TPU VM
    try:
        return list(topologies.get_topology_desc(topology, "tpu", **options).devices)
    except RuntimeError as error:
        if "not installed" in str(error):
            raise UserError("planning for TPUs needs libtpu's compiler: pip install -e '.[tpu]'") from error
        raise UserError(f"--topology={topology}: {str(error).splitlines()[0]}") from error


def _check(topology: str, kind: str, shape: str) -> None:
    """Raise an error unless the topology exists; libtpu's compiler accepts almost any shape."""
    known = [f"{name}:{size}" for name, chip in CHIPS.items() for size in chip.slices]
    known += ["h100:1", "h100:2", "h100:4", "h100:8", "h100:16", "h100:64", "cpu:1", "cpu:8"]
    if kind in ("h100", "cpu") and re.fullmatch(r"[1-9]\d*", shape):
        count = int(shape)
        if kind == "cpu" or count in (1, 2, 4) or count % CHIPS["h100"].per_host == 0:
            return
    if topology in known:
        return
    family, _, size = topology.replace("-", ":").partition(":")  # v5e-8: a number of chips
    same = [name for name in known if name.startswith(f"{family}:")]
    wanted = math.prod(int(n) for n in re.findall(r"\d+", size)) if size else 0
    same.sort(key=lambda name: abs(math.prod(map(int, name.partition(":")[2].split("x"))) - wanted))
    offered = same[:3] or difflib.get_close_matches(topology, known, n=3, cutoff=0)
    families = "" if same else f"; the kinds are {', '.join([*CHIPS, 'cpu'])}"
    raise UserError(f"--topology={topology} does not exist: the nearest are {', '.join(offered)}{families}")
