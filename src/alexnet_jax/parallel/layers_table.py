"""The table of layers: shapes, shardings, parameters and bytes on each device."""

import math

from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from alexnet_jax.layers import Classifier
from alexnet_jax.net.model import Net, abstract_params
from alexnet_jax.net.shapes import layer_shapes
from alexnet_jax.parallel.mesh import DATA, TOWER, local_params, param_specs
from alexnet_jax.text import aligned, size_in_words


def layers_table(model: Net, config: ConfigDict, mesh: Mesh) -> str:
    """Make a table with a row for each layer, as one device holds it.

    ``output`` is examples x towers x shape. ``weights`` are the bytes of the parameters and their velocity,
    ``outputs`` those of the activations of one forward pass, both on each device.
    """
    params = abstract_params(model)
    specs = param_specs(model, config.parallelism)
    on_each = local_params(model, config.parallelism, mesh)
    data, tower = mesh.shape[DATA], mesh.shape[TOWER]
    rows = [("layer", "output", "reads", "kernel", "split over", "parameters", "weights", "outputs")]
    count, weights, outputs = 0, 0, 0
    for shapes in layer_shapes(model.layers, model.towers, model.image_shape):
        layer, name = shapes.layer, shapes.layer.name
        arrays = params.get(name, {})
        held = sum(
            math.prod(x.shape) * x.dtype.itemsize * 2  # and as much for the velocity
            for x in on_each.get(name, {}).values()
        )
        elements = sum(math.prod(x.shape) for x in arrays.values())
        # The shape (examples, towers, ...) on one device.
        local = (config.batch_size // data, model.towers // tower, *shapes.outputs)
        if config.parallelism == "one_weird_trick" and len(shapes.outputs) == 1:
            local = (config.batch_size, local[1], shapes.outputs[0] // data)
        itemsize = model.dtype.itemsize
        if isinstance(layer, Classifier):  # the logits belong to no tower
            local, itemsize = (config.batch_size // data, layer.classes), 4
        size = math.prod(local) * itemsize
        count, weights, outputs = count + elements, weights + held, outputs + size
        rows.append(
            (
                name,
                "x".join(map(str, local)),
                "all towers"
                if shapes.gathers or (isinstance(layer, Classifier) and model.towers > 1)
                else "",
                "x".join(map(str, arrays["kernel"].shape)) if arrays else "",
                _axes(specs[name]["kernel"], mesh) if arrays else "",
                f"{elements:,}" if arrays else "",
                size_in_words(held) if arrays else "",
                size_in_words(size),
            )
        )
    rows.append(("in all", "", "", "", "", f"{count:,}", size_in_words(weights), size_in_words(outputs)))
    return aligned(rows)


def _axes(spec: P, mesh: Mesh) -> str:
    """Return ``tower, data`` for P('tower', None, 'data'), without axes that have only one member."""
    return ", ".join(axis for axis in spec if axis is not None and mesh.shape[axis] > 1)
