"""The mesh ('data', 'tower'): which shapes it may have, and which one is best."""

from collections.abc import Sequence

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh
from ml_collections import ConfigDict

from alexnet_jax.errors import UserError
from alexnet_jax.layers import BatchNorm
from alexnet_jax.net.shapes import config_shapes
from alexnet_jax.parallel.axes import DATA, TOWER, splits_units
from alexnet_jax.parallel.collectives import expected, sent_by_each
from alexnet_jax.runtime.devices import all_devices, lacks_bfloat16


def make_mesh(data: int, tower: int, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Make a mesh of the first ``data * tower`` devices. Neighbours hold towers of the same examples."""
    available = list(all_devices() if devices is None else devices)
    chosen = available[: data * tower]
    if len(chosen) == len(available):
        # On the torus of a TPU, an axis of two may have to be half of a physical axis.
        grid = mesh_utils.create_device_mesh((data, tower), chosen, allow_split_physical_axes=True)
    else:  # a part of a torus has no topology
        grid = np.array(chosen).reshape(data, tower)
    return Mesh(grid, (DATA, TOWER), axis_types=(AxisType.Auto,) * 2)


def mesh_for(config: ConfigDict, devices: Sequence[jax.Device] | None = None) -> tuple[Mesh, str]:
    """Return the mesh of a config, and a line of text that describes it and explains the choice.

    If ``config.mesh`` leaves a choice (-1), choose the mesh of all devices on which each device sends the
    fewest bytes in a step, as `collectives.expected` counts them.

    Raises:
      UserError: there are too few devices for the mesh; or it does not divide the batch, the towers or, with
        ``one_weird_trick``, the units of the dense layers; or a GPU lacks the bfloat16 of the config.
    """
    devices = list(all_devices() if devices is None else devices)
    old = next(filter(lacks_bfloat16, devices), None)
    if old is not None and config.dtype == "bfloat16":
        raise UserError(
            f"config.dtype is bfloat16, which {old.device_kind} lacks (compute capability"
            f" {old.compute_capability}, 8.0 is needed): add --config.dtype=float32, or leave out the variant"
            " bf16"
        )
    shapes = possible_shapes(config, len(devices))
    sent = {shape: sent_by_each(expected(config, *shape), *shape) for shape in shapes}
    data, tower = best = min(sent, key=lambda shape: sent[shape])
    mesh = make_mesh(data, tower, devices)
    idle = {d.process_index for d in devices} - {d.process_index for d in mesh.devices.flat}
    if idle and jax.process_count() > 1:
        raise UserError(
            f"config.mesh = {best} uses no device of process {min(idle)}:"
            f" take all {len(devices)} devices, or start fewer processes"
        )
    line = (
        f"mesh data {data} x tower {tower} on {data * tower} {devices[0].device_kind}:"
        f" {config.batch_size // data} images and {config.net.towers // tower} of"
        f" {config.net.towers} tower(s) on each"
    )
    others = [f"{d} x {t} {_megabytes(sent[d, t])}" for d, t in shapes if (d, t) != best]
    if others:
        line += f"; chosen because each device sends {_megabytes(sent[best])} in a step ({', '.join(others)})"
    return mesh, line


def possible_shapes(config: ConfigDict, count: int) -> list[tuple[int, int]]:
    """Return every (data, tower) that ``config.mesh`` allows on ``count`` devices.

    Raises:
      UserError: it allows none, or none divides the batch into equal parts for ``accumulation_steps``, with
        whole groups of each batch normalization.
    """
    data, tower = config.mesh
    batch, towers = config.batch_size, config.net.towers
    if tower != -1 and towers % tower:
        raise UserError(
            f"config.mesh: {towers} towers can't be split over {tower} devices: take a divisor of {towers}"
        )
    if (needed := max(data, 1) * max(tower, 1)) > count:
        raise UserError(
            f"config.mesh = {(data, tower)} needs {needed} devices, but there {'is' if count == 1 else 'are'}"
            f" {count}: take a smaller mesh (or, on the CPU of one machine, set JAX_NUM_CPU_DEVICES={needed})"
        )
    splits = [n for n in range(1, towers + 1) if towers % n == 0] if tower == -1 else [tower]
    if data != -1:
        shapes = [(data, t) for t in splits if data * t <= count]
        most = max(d * t for d, t in shapes)
        shapes = [(d, t) for d, t in shapes if d * t == most]
    else:
        shapes = [(count // t, t) for t in splits if t <= count and (tower != -1 or count % t == 0)]
    parts = config.accumulation_steps
    fitting = [(d, t) for d, t in shapes if batch % (d * parts) == 0]
    if not fitting:
        d, t = shapes[0]
        fits = max(n for n in range(1, d + 1) if batch % (n * parts) == 0)
        in_parts = f" with {parts} accumulation steps" if parts > 1 else ""
        raise UserError(
            f"config.batch_size = {batch} can't be split over {d} devices{in_parts}:"
            f" take a multiple of {d * parts}, or --config.mesh='({fits}, {t})'"
        )
    if parts > 1:
        fitting = _with_whole_groups(config, fitting)
    if splits_units(config):
        for layer in config_shapes(config):
            if layer.weights is None or not layer.weights.reads_all_units:
                continue
            (units,) = layer.outputs
            if not any(units % d == 0 for d, _ in fitting):
                raise UserError(
                    f"config.parallelism = one_weird_trick can't split {layer.layer.name}'s {units} units"
                    f" over {fitting[0][0]} devices: take a mesh whose data axis divides them"
                )
            fitting = [(d, t) for d, t in fitting if units % d == 0]
    return fitting


def _with_whole_groups(config: ConfigDict, shapes: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the meshes on which the groups of each batch normalization lie in a part of a device's examples.

    Raises:
      UserError: there are none.
    """
    for layer in (each for each in config.net.layers if isinstance(each, BatchNorm)):
        at_once = {d: config.batch_size // (d * config.accumulation_steps) for d, _ in shapes}
        largest = max(at_once.values())
        shapes = [(d, t) for d, t in shapes if at_once[d] % layer.group == 0]
        if not shapes:
            raise UserError(
                f"config.accumulation_steps = {config.accumulation_steps} gives each device {largest}"
                f" examples at a time, which is not a multiple of {layer.name}.group = {layer.group}: set a"
                " smaller group, or fewer accumulation steps"
            )
    return shapes


def local_mesh() -> Mesh:
    """Make a mesh of one device, the first of this process."""
    all_devices()  # raises UserError if JAX cannot use its devices
    return make_mesh(1, 1, jax.local_devices())


def data_mesh() -> Mesh:
    """Make a mesh of all devices. Each has all towers and a part of the batch."""
    return make_mesh(len(all_devices()), 1)


def _megabytes(count: float) -> str:
    return f"{count / 1e6:,.3g} MB"
