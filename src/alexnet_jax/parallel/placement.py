"""Placement of arrays on the mesh: their specs, their shardings, and the transfer to the devices."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from alexnet_jax.net.shapes import LayerShapes, Params
from alexnet_jax.parallel.axes import DATA, TOWER


def param_specs(layers: Sequence[LayerShapes], split_units: bool = False) -> Params:
    """Return the spec of each array of a network: its split over the mesh, by `layers.Weights.axes`.

    Towers are split over ``tower``. The units of dense layers are split over ``data`` if ``split_units`` is
    true; otherwise every part of the batch has all of them.

    Args:
      layers: shapes of the layers.
      split_units: result of `axes.splits_units`.
    """
    mesh_axes = {"tower": TOWER, "units": DATA if split_units else None, None: None}
    return {
        shapes.layer.name: {
            kind: P(*(mesh_axes[axis] for axis in axes)) for kind, axes in shapes.weights.axes.items()
        }
        for shapes in layers
        if shapes.weights is not None
    }


def local_params(layers: Sequence[LayerShapes], split_units: bool, mesh: Mesh) -> Params:
    """Return the shapes and types of a network's parameters on one device, split as by `param_specs`."""
    where = shardings(mesh, param_specs(layers, split_units))
    return {
        shapes.layer.name: {
            kind: jax.ShapeDtypeStruct(where[shapes.layer.name][kind].shard_shape(shape), jnp.float32)
            for kind, shape in shapes.params.items()
        }
        for shapes in layers
        if shapes.weights is not None
    }


def net_axes(split_units: bool) -> dict[str, Any]:
    """Return the axes that `model.Net.__call__` needs at test, inside a ``shard_map`` on this mesh."""
    return {"tower_axis": TOWER} | ({"data_axis": DATA, "split_units": True} if split_units else {})


def shardings(mesh: Mesh, specs: Any) -> Any:
    """Return the sharding of each spec on the mesh."""
    return jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs, is_leaf=lambda x: isinstance(x, P))


def on_devices(tree: Any, mesh: Mesh, *axes: str) -> Any:
    """Put arrays on every device, or split them over ``axes``. Every process must have the whole arrays.

    `jax.device_put` would first compare the arrays between the processes.
    """
    sharding = NamedSharding(mesh, P(*axes))

    def put(x: Any) -> jax.Array:
        array = np.asarray(x)
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    return jax.tree.map(put, tree)
