"""Where arrays lie on the mesh: their specs, their shardings, and how they get there."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from alexnet_jax.net.shapes import LayerShapes, Params
from alexnet_jax.parallel.mesh import DATA, TOWER


def param_specs(layers: Sequence[LayerShapes], parallelism: str) -> Params:
    """Return how each array of a network is split over the mesh, as `layers.Weights.axes` describes it.

    Towers are split over ``tower``. The units of dense layers are split over ``data`` with
    ``one_weird_trick``; with ``towers`` each part of the batch has all of them.
    """
    mesh_axes = {"tower": TOWER, "units": DATA if parallelism == "one_weird_trick" else None, None: None}
    return {
        shapes.layer.name: {
            kind: P(*(mesh_axes[axis] for axis in axes)) for kind, axes in shapes.weights.axes.items()
        }
        for shapes in layers
        if shapes.weights is not None
    }


def local_params(layers: Sequence[LayerShapes], parallelism: str, mesh: Mesh) -> Params:
    """Return the shapes and types of a network's parameters on one device."""
    places = shardings(mesh, param_specs(layers, parallelism))
    return {
        shapes.layer.name: {
            kind: jax.ShapeDtypeStruct(places[shapes.layer.name][kind].shard_shape(shape), jnp.float32)
            for kind, shape in shapes.params.items()
        }
        for shapes in layers
        if shapes.weights is not None
    }


def net_axes(parallelism: str) -> dict[str, str]:
    """Return the axes that `model.Net.__call__` needs inside a ``shard_map`` on this mesh."""
    return {"tower_axis": TOWER} | ({"batch_axis": DATA} if parallelism == "one_weird_trick" else {})


def shardings(mesh: Mesh, specs: Any) -> Any:
    """Return the sharding of each spec on the mesh."""
    return jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs, is_leaf=lambda x: isinstance(x, P))


def on_devices(tree: Any, mesh: Mesh, *axes: str) -> Any:
    """Put arrays that every process has on every device, or split them over ``axes``.

    (`jax.device_put` would first compare them between the processes.)
    """
    sharding = NamedSharding(mesh, P(*axes))

    def put(x: Any) -> jax.Array:
        array = np.asarray(x)
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    return jax.tree.map(put, tree)
