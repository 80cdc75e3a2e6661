"""The mesh ('data', 'tower') and where everything lies on it."""

import math
from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from alexnet_jax.errors import UserError
from alexnet_jax.model import Params

DATA, TOWER = "data", "tower"


def make_mesh(
    shape: tuple[int, int],
    towers: int,
    batch_size: int | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> Mesh:
    """A mesh of ``shape`` = (data, tower), -1 for what is there.

    By default every device holds all towers, and the batch is split over the devices: where the
    whole net fits on a device nothing but the gradients then crosses between them.

    Raises:
      UserError: a mesh that the devices can't hold, or that doesn't divide the batch or the towers.
    """
    devices = jax.devices() if devices is None else devices
    count = len(devices)
    data, tower = shape
    tower = 1 if tower == -1 else tower
    if towers % tower:
        raise UserError(f"config.mesh: {towers} towers can't be split over {tower} devices")
    if data == -1:
        if tower > count:
            raise UserError(f"config.mesh: {tower} devices are asked for, {count} are there")
        data = count // tower
    if data * tower > count:
        raise UserError(f"config.mesh = {(data, tower)} needs {data * tower} devices, {count} are there")
    if batch_size is not None and batch_size % data:
        fits = [n for n in range(1, count // tower + 1) if batch_size % n == 0]
        raise UserError(
            f"config.batch_size = {batch_size} can't be split over {data} devices:"
            f" take a multiple of {data}, or --config.mesh='({fits[-1]}, {tower})'"
        )
    return jax.make_mesh(
        (data, tower), (DATA, TOWER), axis_types=(AxisType.Auto,) * 2, devices=devices[: data * tower]
    )


def local_mesh() -> Mesh:
    """One device, the first of this process."""
    return make_mesh((1, 1), towers=1, devices=jax.local_devices()[:1])


def param_specs(params: Params) -> Params:
    """An array with a tower axis is split over the towers; a classifier's bias belongs to all."""
    return jax.tree.map(lambda x: P(TOWER) if x.shape[0] > 1 else P(), params)


def shardings(mesh: Mesh, specs: Any) -> Any:
    """Each spec on the mesh."""
    return jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs, is_leaf=lambda x: isinstance(x, P))


def describe(mesh: Mesh) -> str:
    """``mesh data 4 x tower 1 on 4 TPU v5 lite``."""
    device = mesh.devices.flat[0]
    count = math.prod(mesh.devices.shape)
    return f"mesh data {mesh.shape[DATA]} x tower {mesh.shape[TOWER]} on {count} {device.device_kind}"
