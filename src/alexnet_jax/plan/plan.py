"""Plan a run before paying for it: compile the real step for hardware that may be absent.

The compiler counts memory, FLOPs and collectives, and we count the memory traffic of the compiled program.
From these and the vendor's peak figures we estimate the time of a step, images a second and hours.
"""

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from alexnet_jax.config.settings import BY_KEY
from alexnet_jax.data.dataset import known_info
from alexnet_jax.data.sources import known_examples
from alexnet_jax.errors import RunError, UserError
from alexnet_jax.net.model import Net, build
from alexnet_jax.parallel.axes import DATA, TOWER, splits_units
from alexnet_jax.parallel.collectives import Collective
from alexnet_jax.parallel.mesh import make_mesh, possible_shapes
from alexnet_jax.parallel.placement import local_params
from alexnet_jax.plan import hlo
from alexnet_jax.runtime import progress
from alexnet_jax.runtime.chips import Chip
from alexnet_jax.runtime.device_errors import shortage
from alexnet_jax.training.flops import flops_per_image
from alexnet_jax.training.schedule import total_steps
from alexnet_jax.training.step import lower_train_step

# The speed at which the loader of a host reads a raw cache in memory. A host with eight or more cores has
# eight threads. Each reads 5.1 GB/s: benchmarks/loader.py with two threads on machine D, the slower one
# (docs/notebook.md).
LOADER_BYTES_PER_SECOND = 8 * 5.1e9


@dataclasses.dataclass(frozen=True)
class Plan:
    """One training step on one mesh.

    Attributes:
      topology: requested topology.
      device_kind: name of the devices in the compiler.
      mesh: sizes of the axes by name.
      parallelism: ``config.parallelism``.
      global_batch: number of images in a step.
      argument_bytes: size of the state and the batch on each device, counted by the compiler.
      temp_bytes: size of activations and other temporaries.
      peak_bytes: largest memory in use at once.
      capacity_bytes: published size of the memory of a device.
      flops: FLOPs of a device in a step, counted by the compiler; None if it does not count them.
      bytes_accessed: bytes that the instructions of a step read and write in any memory, also on the chip,
        counted by the compiler; None if it does not count them.
      hbm_bytes: bytes of these in the main memory of a device, counted by us in the compiled program; None
        on a CPU, or if it did not compile.
      kernels: kernels that a GPU starts in a step, and how many of these only copy or transpose an array;
        None on other devices.
      collectives: collectives of the compiled program.
      seconds: our estimates of the time that each resource would take alone: ``compute``, ``memory``,
        ``network``, ``input``.
      steps: steps of the whole run; None if the size of the data set is unknown.
      fits: whether the memory is large enough; None if it is unknown.
    """

    topology: str
    device_kind: str
    mesh: dict[str, int]
    parallelism: str
    global_batch: int
    argument_bytes: int | None
    temp_bytes: int | None
    peak_bytes: int
    capacity_bytes: float | None
    flops: float | None
    bytes_accessed: float | None
    hbm_bytes: int | None
    kernels: tuple[int, int] | None
    collectives: tuple[Collective, ...]
    seconds: dict[str, float]
    steps: int | None
    fits: bool | None

    @property
    def sent_bytes(self) -> float:
        """The bytes that each device sends in a step, if the collectives are rings."""
        return sum(collective.sent(self.mesh) for collective in self.collectives)

    @property
    def bound_by(self) -> str | None:
        """The resource that takes longest."""
        return max(self.seconds, key=self.seconds.__getitem__) if self.seconds else None

    @property
    def step_seconds(self) -> float | None:
        """The roofline: the time of the slowest resource, if all others overlap with it."""
        return max(self.seconds.values(), default=None)

    @property
    def run_hours(self) -> float | None:
        """Hours of training, without evaluation."""
        seconds = self.step_seconds
        return None if seconds is None or self.steps is None else self.steps * seconds / 3600

    def to_json(self) -> dict[str, Any]:
        """Return the object that ``--json`` writes."""
        seconds = self.step_seconds
        return {
            "topology": self.topology,
            "device_kind": self.device_kind,
            "devices": self.mesh[DATA] * self.mesh[TOWER],
            "mesh": self.mesh,
            "parallelism": self.parallelism,
            "global_batch": self.global_batch,
            "per_device": {
                name: getattr(self, name)
                for name in (
                    "argument_bytes",
                    "temp_bytes",
                    "peak_bytes",
                    "capacity_bytes",
                    "flops",
                    "bytes_accessed",
                )
            },
            "collectives": [
                {
                    "kind": c.kind,
                    "layers": list(c.layers),
                    "pass": c.direction,
                    "axes": list(c.axes),
                    "bytes": c.bytes,
                }
                for c in self.collectives
            ],
            "estimate": {
                "step_seconds": seconds,
                "images_per_second": None if not seconds else self.global_batch / seconds,
                "bound_by": self.bound_by,
                "run_hours": self.run_hours,
            },
            "fits": self.fits,
        }


def plan(config: ConfigDict, topology: str, chip: Chip | None, mesh: Mesh) -> Plan:
    """Compile the step of a config for a mesh, and read what the compiler counted.

    Args:
      config: config of a recipe; its mesh is ignored.
      topology: name of the topology.
      chip: published figures of its devices; None if there are none.
      mesh: mesh as from `mesh.mesh_for`; its devices may be absent.

    Raises:
      RunError: a collective of the compiled program belongs to no layer.
    """
    model = build(config)
    sizes = {axis: mesh.shape[axis] for axis in (DATA, TOWER)}
    common: dict[str, Any] = {
        "topology": topology,
        "device_kind": mesh.devices.flat[0].device_kind,
        "mesh": sizes,
        "parallelism": config.parallelism,
        "global_batch": config.batch_size,
        "capacity_bytes": None if chip is None else chip.memory,
        "steps": _steps(config),
    }
    try:
        compiled = compile_step(model, config, mesh)
    except jax.errors.JaxRuntimeError as error:
        found = shortage(str(error))
        if found is None or found.needed is None:
            raise
        unknown = ("argument_bytes", "temp_bytes", "flops", "bytes_accessed", "hbm_bytes", "kernels")
        nothing: dict[str, Any] = dict.fromkeys(unknown)
        return Plan(**common, **nothing, peak_bytes=found.needed, collectives=(), seconds={}, fits=False)
    memory: Any = compiled.memory_analysis()
    platform = mesh.devices.flat[0].platform
    on_cpu = platform == "cpu"
    # XLA's GPU compiler counts nothing. On a CPU, a loop counts at most once (`ops.conv` has one).
    costs = {} if on_cpu else compiled.cost_analysis() or {}
    program = hlo.parse(compiled.as_text() or "")
    local = local_params(model.shapes, splits_units(config), mesh)
    try:
        collectives = hlo.collectives(program, sizes, config.net.layers, local)
    except hlo.UnknownCollective as error:
        raise RunError(f"the compiled step has a collective of unknown origin: {error}") from error
    flops, traffic = costs.get("flops"), hlo.hbm_bytes(program, has_vmem=platform == "tpu")
    seconds = {}
    if chip is not None:
        ours = flops_per_image(config) * config.batch_size / mesh.size
        seconds = {
            "compute": (flops or ours) / chip.flops[config.dtype],
            "memory": traffic / chip.bandwidth,
            "network": sum(c.sent(sizes) / _speed(c, chip, sizes) for c in collectives),
            "input": _input_seconds(config, chip, mesh.size),
        }
    peak = memory.peak_memory_in_bytes
    if on_cpu:  # the CPU compiler leaves temporaries out of its peak
        peak = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    return Plan(
        **common,
        argument_bytes=memory.argument_size_in_bytes,
        temp_bytes=memory.temp_size_in_bytes,
        peak_bytes=peak,
        flops=flops,
        bytes_accessed=costs.get("bytes accessed"),
        hbm_bytes=None if on_cpu else traffic,
        kernels=hlo.kernels(program) if platform == "gpu" else None,
        collectives=tuple(collectives),
        seconds=seconds,
        fits=None if chip is None else peak <= chip.memory,
    )


def compile_step(model: Net, config: ConfigDict, mesh: Mesh) -> jax.stages.Compiled:
    """Compile the training step for a mesh whose devices may be absent."""
    with warnings.catch_warnings():
        # JAX writes programs for absent devices to its compile cache, but cannot read them from it.
        warnings.filterwarnings("ignore", "Error reading persistent compilation cache")
        return lower_train_step(model, config, mesh).compile()


def compare(
    config: ConfigDict, topology: str, chip: Chip | None, devices: Sequence[jax.Device]
) -> list[Plan]:
    """Plan every mesh that ``config.mesh`` allows, with each parallelism that can split the network over it.

    Raises:
      UserError: no mesh is possible.
    """
    plans: list[Plan] = []
    for parallelism in BY_KEY["parallelism"].choices:
        config = config.copy_and_resolve_references()
        config.parallelism = parallelism
        try:
            shapes = possible_shapes(config, len(devices))
        except UserError:
            if not plans:
                raise
            continue  # the dense layers' units can't be split over any of these meshes
        for data, tower in shapes:
            if data > 1 or not splits_units(config):
                plans.append(plan(config, topology, chip, make_mesh(data, tower, devices)))
    return plans


def best_of(plans: list[Plan]) -> Plan | None:
    """Return the fastest plan that fits, or None; of equals, the one that communicates least."""
    possible = [p for p in plans if p.fits and p.step_seconds is not None]
    return min(possible, key=lambda p: (p.step_seconds, p.sent_bytes), default=None)


def _speed(collective: Collective, chip: Chip, sizes: dict[str, int]) -> float:
    """Return the bytes per second that a device can send in this collective."""
    members = 1
    for axis in collective.axes:
        members *= sizes[axis]
    # The towers of one batch are neighbours; the data axis extends over all hosts.
    span = sizes[DATA] * sizes[TOWER] if DATA in collective.axes else members
    if chip.between_hosts is not None and span > chip.per_host:
        return chip.between_hosts
    return chip.link * (1 if members == 2 else chip.links)


def _input_seconds(config: ConfigDict, chip: Chip, devices: int) -> float:
    """Return the time in which a host loads its part of a batch."""
    hosts = 1 if devices <= chip.largest_host else devices // chip.per_host
    size = config.data.image_size**2 * 3
    return config.batch_size / hosts * size / LOADER_BYTES_PER_SECOND


def training_examples(config: ConfigDict) -> int | None:
    """Return the number of training examples; None if the data is not known yet."""
    info = known_info(config.data, progress.note)
    return info.splits["train"] if info else known_examples(config.data.source, config.data.validation)


def _steps(config: ConfigDict) -> int | None:
    if config.num_steps is not None:
        return config.num_steps
    examples = training_examples(config)
    return None if examples is None else total_steps(config, examples // config.batch_size)
