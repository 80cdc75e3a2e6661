"""The table of layers: shapes, shardings, parameters and bytes on each device."""

import collections
import math

import jax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from alexnet_jax.layers import Classifier
from alexnet_jax.net.model import Net
from alexnet_jax.parallel.axes import DATA, TOWER, splits_units
from alexnet_jax.parallel.placement import param_specs
from alexnet_jax.text import aligned, size_in_words
from alexnet_jax.training.state import TrainState, abstract_state


def layers_table(model: Net, config: ConfigDict, mesh: Mesh) -> str:
    """Make a table with a row for each layer, as one device holds it.

    ``output`` is examples x towers x shape. ``state`` is the size of the parameters and of the optimizer's
    state for them. ``outputs`` is the size of the activations of one forward pass.
    """
    state = abstract_state(model, config, mesh)
    specs = param_specs(model.shapes, splits_units(config))
    held_by_layer = _bytes_by_layer(state)
    data, tower = mesh.shape[DATA], mesh.shape[TOWER]
    rows = [("layer", "output", "reads", "kernel", "split over", "parameters", "state", "outputs")]
    count, state_bytes, outputs = 0, 0, 0
    for shapes in model.shapes:
        layer, name = shapes.layer, shapes.layer.name
        arrays, held = shapes.params, held_by_layer[name]
        main = next(iter(arrays), "")
        # The shape (examples, towers, ...) on one device.
        local = (config.batch_size // data, model.towers // tower, *shapes.outputs)
        if splits_units(config) and len(shapes.outputs) == 1:
            local = (config.batch_size, local[1], shapes.outputs[0] // data)
        itemsize = model.dtype.itemsize
        if isinstance(layer, Classifier):  # the logits belong to no tower
            local, itemsize = (config.batch_size // data, layer.classes), 4
        size = math.prod(local) * itemsize
        count, state_bytes, outputs = count + shapes.size, state_bytes + held, outputs + size
        rows.append(
            (
                name,
                "x".join(map(str, local)),
                "all towers" if shapes.reads_all_towers else "",
                "x".join(map(str, arrays[main])) if arrays else "",
                _axes(specs[name][main], mesh) if arrays else "",
                f"{shapes.size:,}" if arrays else "",
                size_in_words(held) if arrays else "",
                size_in_words(size),
            )
        )
    rows.append(("in all", "", "", "", "", f"{count:,}", size_in_words(state_bytes), size_in_words(outputs)))
    return aligned(rows)


def _bytes_by_layer(state: TrainState) -> collections.Counter[str]:
    """Count the bytes on one device, of the parameters and of the optimizer's state."""
    found: collections.Counter[str] = collections.Counter()
    for path, x in jax.tree.leaves_with_path((state.params, state.opt_state)):
        names = [key.key for key in path if isinstance(key, jax.tree_util.DictKey)]
        if names:  # counters of the optimizer belong to no layer
            found[names[-2]] += math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize
    return found


def _axes(spec: P, mesh: Mesh) -> str:
    """Return ``tower, data`` for P('tower', None, 'data'), without axes that have only one member."""
    return ", ".join(axis for axis in spec if axis is not None and mesh.shape[axis] > 1)
