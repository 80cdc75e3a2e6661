"""The published figures of devices. Nothing here imports JAX."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Chip:
    """Published figures of one device, as JAX counts devices.

    Attributes:
      flops: peak FLOPs per second by ``config.dtype``, without sparsity. Those of float32 are for JAX's
        default precision: bfloat16 products on a TPU, TF32 on a GPU.
      memory: size of the memory in bytes.
      bandwidth: bandwidth of the memory in bytes per second.
      link: bytes per second in one direction over one link between neighbours (all NVLinks of a GPU).
      links: number of links that one axis of the mesh uses at once. A ring uses both directions;
        a line of chips sends there and back.
      per_host: number of devices on each of several hosts.
      largest_host: largest number of devices on a single host.
      between_hosts: bytes per second that each device can send to other hosts; None if the links also
        connect hosts.
      slices: shapes that exist; empty for GPUs, which have none.
      kinds: names of the devices in JAX.
      source: web page of the figures.
    """

    flops: dict[str, float]
    memory: float
    bandwidth: float
    link: float
    links: int
    per_host: int
    largest_host: int
    between_hosts: float | None
    slices: tuple[str, ...]
    kinds: tuple[str, ...]
    source: str


def _tpu(
    flops: float,
    gib: float,
    bandwidth: float,
    link: float,
    hosts: tuple[int, int],
    slices: str,
    kinds: str,
    source: str,
) -> Chip:
    peaks = {"float32": flops, "bfloat16": flops}
    shapes, names = tuple(slices.split()), tuple(kinds.split(", "))
    return Chip(peaks, gib * 2**30, bandwidth, link, 2, *hosts, None, shapes, names, source)


_FLAT = "1x1 2x2 2x4 4x4 4x8 8x8 8x16 16x16"
_CUBES = "2x2x1 2x2x2 2x2x4 2x4x4 4x4x4 4x4x8 4x8x8 8x8x8 8x8x16 8x16x16 16x16x16"

# Links of v4: jax-ml.github.io/scaling-book. Links of the others: the vendor's figure for a chip, divided by
# the number of links.
CHIPS: dict[str, Chip] = {
    "v4": _tpu(275e12, 32, 1200e9, 45e9, (4, 4), _CUBES, "TPU v4", "cloud.google.com/tpu/docs/v4"),
    "v5e": _tpu(
        197e12, 16, 819e9, 50e9, (4, 8), _FLAT, "TPU v5 lite, TPU v5e", "docs.cloud.google.com/tpu/docs/v5e"
    ),
    "v5p": _tpu(
        459e12,
        95,
        2765e9,
        100e9,
        (4, 4),
        f"{_CUBES} 16x16x24",
        "TPU v5, TPU v5p",
        "cloud.google.com/tpu/docs/v5p",
    ),
    "v6e": _tpu(
        918e12, 32, 1638e9, 100e9, (4, 8), _FLAT, "TPU v6 lite, TPU v6e", "docs.cloud.google.com/tpu/docs/v6e"
    ),
    # A chip is two devices. Each has half of the chip's figures.
    "tpu7x": _tpu(
        1153.5e12, 96, 3690e9, 50e9, (8, 8), _CUBES, "TPU7x", "docs.cloud.google.com/tpu/docs/tpu7x"
    ),
    "h100": Chip(
        {"float32": 494.7e12, "bfloat16": 989.4e12},
        memory=84942979072,
        bandwidth=3352e9,
        link=450e9,
        links=1,
        per_host=8,
        largest_host=8,
        between_hosts=50e9,
        slices=(),
        kinds=("NVIDIA H100 80GB HBM3",),
        # SXM5 80 GB, no sparsity; NVLink 900 GB/s both ways; in a DGX a NIC of 400 Gb/s for each GPU.
        source="nvidia.com/en-us/data-center/h100; docs.nvidia.com/dgx-basepod",
    ),
}


# The H200 has the compute units of the H100 SXM5, and another memory: nvidia.com/en-us/data-center/h200.
_AS_FAST_AS = {"NVIDIA H200": "NVIDIA H100 80GB HBM3"}


def peak(device_kind: str, dtype: str) -> float | None:
    """Return the peak FLOPs per second of a device; None if it is unknown, as for CPUs.

    Args:
      device_kind: name of the device in JAX.
      dtype: ``config.dtype``.
    """
    kind = _AS_FAST_AS.get(device_kind, device_kind)
    return next((chip.flops[dtype] for chip in CHIPS.values() if kind in chip.kinds), None)
