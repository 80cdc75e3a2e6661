"""The mesh ('data', 'tower') and where everything lies on it."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from alexnet_jax.errors import UserError
from alexnet_jax.layers import Classifier, Conv, Dense, Local
from alexnet_jax.net.model import Net, Params, abstract_params
from alexnet_jax.net.shapes import layer_shapes
from alexnet_jax.parallel.collectives import expected, sent_by_each
from alexnet_jax.runtime.devices import all_devices

DATA, TOWER = "data", "tower"


def make_mesh(data: int, tower: int, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh of the first ``data * tower`` devices, neighbours holding the towers of the same examples."""
    there = list(all_devices() if devices is None else devices)
    chosen = there[: data * tower]
    if len(chosen) == len(there):
        # On a TPU's torus an axis of two may have to be half of a physical one.
        grid = mesh_utils.create_device_mesh((data, tower), chosen, allow_split_physical_axes=True)
    else:  # a part of a torus has no shape to follow
        grid = np.array(chosen).reshape(data, tower)
    return Mesh(grid, (DATA, TOWER), axis_types=(AxisType.Auto,) * 2)


def mesh_for(config: ConfigDict, devices: Sequence[jax.Device] | None = None) -> tuple[Mesh, str]:
    """The mesh that a config asks for, and a line that says which it is and why.

    Where ``config.mesh`` leaves a choice (-1), of the meshes that use all devices the one whose
    devices send the fewest bytes in a step, as `collectives.expected` counts them.

    Raises:
      UserError: a mesh that the devices can't hold, or that doesn't divide the batch, the towers or,
        with ``one_weird_trick``, the dense layers' units.
    """
    devices = list(all_devices() if devices is None else devices)
    shapes = possible_shapes(config, len(devices))
    sent = {shape: sent_by_each(expected(config, *shape), *shape) for shape in shapes}
    data, tower = best = min(sent, key=lambda shape: sent[shape])
    mesh = make_mesh(data, tower, devices)
    idle = {d.process_index for d in devices} - {d.process_index for d in mesh.devices.flat}
    if idle and jax.process_count() > 1:
        raise UserError(
            f"config.mesh = {best} leaves no device to process {min(idle)}:"
            f" take all {len(devices)} devices, or start fewer processes"
        )
    line = (
        f"mesh data {data} x tower {tower} on {data * tower} {devices[0].device_kind}:"
        f" {config.batch_size // data} images and {config.net.towers // tower} of"
        f" {config.net.towers} tower(s) on each"
    )
    others = [f"{d} x {t} {_megabytes(sent[d, t])}" for d, t in shapes if (d, t) != best]
    if others:
        line += f"; chosen, as each sends {_megabytes(sent[best])} a step ({', '.join(others)})"
    return mesh, line


def possible_shapes(config: ConfigDict, count: int) -> list[tuple[int, int]]:
    """Every (data, tower) that ``config.mesh`` allows on ``count`` devices.

    Raises:
      UserError: none.
    """
    data, tower = config.mesh
    batch, towers = config.batch_size, config.net.towers
    if tower != -1 and towers % tower:
        raise UserError(f"config.mesh: {towers} towers can't be split over {tower} devices")
    if max(data, 1) * max(tower, 1) > count:
        raise UserError(
            f"config.mesh = {(data, tower)} needs {max(data, 1) * max(tower, 1)} devices, {count} are there"
        )
    splits = [n for n in range(1, towers + 1) if towers % n == 0] if tower == -1 else [tower]
    if data != -1:
        shapes = [(data, t) for t in splits if data * t <= count]
        most = max(d * t for d, t in shapes)
        shapes = [(d, t) for d, t in shapes if d * t == most]
    else:
        shapes = [(count // t, t) for t in splits if t <= count and (tower != -1 or count % t == 0)]
    fitting = [(d, t) for d, t in shapes if batch % d == 0]
    if not fitting:
        d, t = shapes[0]
        fits = max(n for n in range(1, d + 1) if batch % n == 0)
        raise UserError(
            f"config.batch_size = {batch} can't be split over {d} devices:"
            f" take a multiple of {d}, or --config.mesh='({fits}, {t})'"
        )
    if config.parallelism == "one_weird_trick":
        for layer in config.net.layers:
            if isinstance(layer, Dense) and not any(layer.units % d == 0 for d, _ in fitting):
                raise UserError(
                    f"config.parallelism = one_weird_trick can't split {layer.name}'s {layer.units} units"
                    f" over {fitting[0][0]} devices: take a mesh whose data divides them"
                )
            if isinstance(layer, Dense):
                fitting = [(d, t) for d, t in fitting if layer.units % d == 0]
    return fitting


def local_mesh() -> Mesh:
    """One device, the first of this process."""
    all_devices()  # raises UserError if JAX cannot use its devices
    return make_mesh(1, 1, jax.local_devices())


def data_mesh() -> Mesh:
    """Make a mesh of all devices: each has all towers and a part of the batch."""
    return make_mesh(len(all_devices()), 1)


def param_specs(model: Net, parallelism: str) -> Params:
    """How each array lies on the mesh: its towers split over ``tower``; a classifier's bias on all devices.

    With ``one_weird_trick`` the dense layers' units are split over ``data`` too, where ``towers`` has
    them whole on each shard of the data.
    """
    units = DATA if parallelism == "one_weird_trick" else None
    specs: Params = {}
    for shapes in layer_shapes(model.layers, model.towers, model.image_shape):
        match shapes.layer:
            case Conv() | Local():
                specs[shapes.layer.name] = {"kernel": P(TOWER), "bias": P(TOWER)}
            case Dense():
                specs[shapes.layer.name] = {"kernel": P(TOWER, None, units), "bias": P(TOWER, units)}
            case Classifier():
                rows = units if len(shapes.inputs) == 1 else None  # its inputs are dense units, or maps
                specs[shapes.layer.name] = {"kernel": P(TOWER, rows), "bias": P()}
    return specs


def local_params(model: Net, parallelism: str, mesh: Mesh) -> Params:
    """The shapes and types of the parameters as one device holds them."""
    places = shardings(mesh, param_specs(model, parallelism))
    return jax.tree.map(
        lambda x, place: jax.ShapeDtypeStruct(place.shard_shape(x.shape), x.dtype),
        abstract_params(model),
        places,
    )


def on_devices(tree: Any, mesh: Mesh, *axes: str) -> Any:
    """Arrays that every process has, on every device, or split over ``axes``.

    (`jax.device_put` would have the processes compare them first.)
    """
    place = NamedSharding(mesh, P(*axes))

    def put(x: Any) -> jax.Array:
        array = np.asarray(x)
        return jax.make_array_from_callback(array.shape, place, lambda index: array[index])

    return jax.tree.map(put, tree)


def net_axes(parallelism: str) -> dict[str, str]:
    """The axes that the net is told of inside a ``shard_map`` on this mesh; see `model.Net.__call__`."""
    return {"tower_axis": TOWER} | ({"batch_axis": DATA} if parallelism == "one_weird_trick" else {})


def shardings(mesh: Mesh, specs: Any) -> Any:
    """Each spec on the mesh."""
    return jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs, is_leaf=lambda x: isinstance(x, P))


def _megabytes(count: float) -> str:
    return f"{count / 1e6:,.3g} MB"
