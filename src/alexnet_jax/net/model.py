"""A Flax module that runs any tuple of layers. The program of a tower is written once.

Parameters are ``{"conv1": {"kernel", "bias"}, ...}``, each array with a leading tower axis.
Activations are a list with one array for each tower on this device: all of them on a single device, or this
device's share inside a ``jax.shard_map`` over the mesh axis named in ``tower_axis``. A layer that reads all
towers needs one all-gather over that axis, and the classifier one sum. Batch normalization in training sums
its statistics over ``data_axis``, if a group lies on several devices. Nothing else communicates.

With ``split_units``, the units of the dense layers are split over ``data_axis`` too: the "one weird trick" of
Krizhevsky (2014). Their input is gathered, so that each device computes its units of every example (shapes
``Gxunits``, G for the global batch). The classifier's sum returns its own examples to each device.
"""

import dataclasses
import math
from typing import Any, assert_never

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from ml_collections import ConfigDict

from alexnet_jax.errors import UserError
from alexnet_jax.layers import (
    LRN,
    AvgPool,
    BatchNorm,
    Classifier,
    Conv,
    Dense,
    Dropout,
    Layers,
    Local,
    MapNorm,
    MaxPool,
    ReLU,
    Shape,
    Tanh,
    Weights,
    position,
)
from alexnet_jax.net.draws import named_key
from alexnet_jax.net.ops import batch_norm, block, conv, dense, lrn, pointwise, pool
from alexnet_jax.net.shapes import LayerShapes, Params, layer_shapes
from alexnet_jax.net.towers import gathered, lrn_across_towers


@dataclasses.dataclass(frozen=True)
class Training:
    """Inputs of a training pass, and the batch statistics that it computes.

    Attributes:
      dropout_key: key of this step.
      first: position of the first image in the global batch.
      images_per_device: number of images of each device in the global batch; by default the number of images
        in this pass.
      batch_stats: the network adds the ``mean`` and the ``variance`` of each batch normalization here.
    """

    dropout_key: jax.Array
    first: jax.Array | int = 0
    images_per_device: int | None = None
    batch_stats: Params = dataclasses.field(default_factory=dict)

    def positions(self, examples: int, batch_axis: str | None) -> jax.Array:
        """Return the positions in the global batch of the examples on this device.

        Args:
          examples: number of examples on this device.
          batch_axis: mesh axis over which they were gathered; None if they were not.
        """
        if batch_axis is None:
            return self.first + jnp.arange(examples)
        devices = lax.axis_size(batch_axis)
        seen = examples // devices
        stride = self.images_per_device or seen
        if stride == seen:
            return jnp.arange(examples)
        first = self.first - lax.axis_index(batch_axis) * stride  # on the first device
        return (first + stride * jnp.arange(devices)[:, None] + jnp.arange(seen)).reshape(-1)


class Net(nnx.Module):
    """The network that a tuple of layers describes.

    Attributes:
      layers: the tuple.
      towers: number of towers, over all devices.
      image_shape: (height, width, channels) of the images after cropping.
      dtype: type of the activations and products; parameters, the sums of normalizations and logits are
        float32. On a CPU, LRN's sums are rounded to ``dtype``.
    """

    def __init__(
        self, layers: Layers, towers: int, image_shape: Shape, dtype: jax.typing.DTypeLike, *, key: jax.Array
    ) -> None:
        self.layers = nnx.static(layers)
        self.towers = towers
        self.image_shape = nnx.static(image_shape)
        self.dtype = jnp.dtype(dtype)
        self.weights = nnx.Dict(
            {
                shapes.layer.name: nnx.Dict(
                    jax.tree.map(nnx.Param, _initial(shapes.weights, named_key(key, shapes.layer.name)))
                )
                for shapes in self.shapes
                if shapes.weights is not None
            }
        )

    @property
    def shapes(self) -> list[LayerShapes]:
        """The shapes of each layer."""
        return layer_shapes(self.layers, self.towers, self.image_shape)

    def __call__(
        self,
        images_BxHxWxC: jax.Array,
        *,
        training: Training | None = None,
        tower_axis: str | None = None,
        data_axis: str | None = None,
        split_units: bool = False,
    ) -> jax.Array:
        """Compute the logits, float32, of shape (batch, classes).

        Args:
          images_BxHxWxC: cropped images, float, after subtraction of the mean.
          training: inputs of a training pass; None at test.
          tower_axis: mesh axis over which the towers are split, inside a ``shard_map``.
          data_axis: mesh axis over which the batch is split, inside a ``shard_map``.
          split_units: whether the units of the dense layers are split over ``data_axis``.
        """
        xs = self._activations(images_BxHxWxC, training, tower_axis, data_axis, split_units)
        with jax.named_scope(self.layers[-1].name):
            return self._logits(xs, tower_axis, data_axis if split_units and xs[0].ndim == 2 else None)

    def hidden(
        self, images_BxHxWxC: jax.Array, layer: str | None = None, *, tower_axis: str | None = None
    ) -> jax.Array:
        """Compute the activations of a layer at test. See the function `hidden`."""
        if layer == self.layers[-1].name:
            return self(images_BxHxWxC, tower_axis=tower_axis)
        end = len(self.layers) - 1 if layer is None else position(self.layers, layer) + 1
        xs = self._activations(images_BxHxWxC, tower_axis=tower_axis, end=end)
        if layer is None:
            xs = [x.reshape(len(x), -1) for x in xs]
        return jnp.concatenate(xs, axis=-1).astype(jnp.float32)

    def _activations(
        self,
        images_BxHxWxC: jax.Array,
        training: Training | None = None,
        tower_axis: str | None = None,
        data_axis: str | None = None,
        split_units: bool = False,
        end: int = -1,
    ) -> list[jax.Array]:
        """Run the layers before ``end``, by default all but the classifier.

        Return the result of each tower on this device.
        """
        towers_here = self.weights[self.layers[-1].name]["kernel"].shape[0]
        xs = [images_BxHxWxC.astype(self.dtype)] * towers_here
        batch_axis = data_axis if split_units else None
        for shapes, fused in block.stages(self.shapes[:end]):
            layer = shapes.layer
            with jax.named_scope(layer.name):
                xs = gathered(shapes, xs, tower_axis, batch_axis)
                units_axis = batch_axis if xs[0].ndim == 2 else None
                match layer:
                    case Conv():
                        pairs = zip(xs, self._unstacked(layer.name, "kernel"), strict=True)
                        xs = [conv.conv(x, kernel, layer.stride, layer.padding) for x, kernel in pairs]
                        biases = self._unstacked(layer.name, "bias")
                        if fused is None:
                            xs = _with_biases(xs, biases)
                    case Local():
                        pairs = zip(xs, self._unstacked(layer.name, "kernel"), strict=True)
                        xs = [conv.local(x, kernel, layer) for x, kernel in pairs]
                        xs = _with_biases(xs, self._unstacked(layer.name, "bias"))
                    case Dense():
                        xs = dense.dense_of_towers(xs, self.weights[layer.name]["kernel"][...])
                        xs = _with_biases(xs, self._unstacked(layer.name, "bias"))
                    case Classifier():
                        raise AssertionError("only the last layer is a classifier")
                    case ReLU():
                        xs = [pointwise.relu(x) for x in xs]
                    case Tanh():
                        xs = [jnp.tanh(x) for x in xs]
                    case LRN() if shapes.gathers:
                        xs = lrn_across_towers(layer, xs, tower_axis)
                    case LRN():
                        xs = [lrn.lrn(x, layer) for x in xs]
                    case MapNorm():
                        xs = [lrn.map_norm(x, layer) for x in xs]
                    case BatchNorm():
                        xs = self._batch_norm(layer, xs, training, None if units_axis else data_axis)
                    case MaxPool():
                        xs = [pool.max_pool(x, layer) for x in xs]
                    case AvgPool():
                        xs = [pool.avg_pool(x, layer) for x in xs]
                    case Dropout():
                        xs = _dropout(layer, xs, training, tower_axis, units_axis)
                    case _:
                        assert_never(layer)
            if fused is not None:
                pairs = zip(xs, biases, strict=True)
                xs = [block.relu_lrn_max_pool(x, bias, *fused) for x, bias in pairs]
        return xs

    def _batch_norm(
        self, layer: BatchNorm, xs: list[jax.Array], training: Training | None, data_axis: str | None
    ) -> list[jax.Array]:
        kinds = ("scale", "bias") if training else ("scale", "bias", "mean", "variance")
        weights = {kind: self.weights[layer.name][kind][...] for kind in kinds}
        if training is None:
            return batch_norm.at_test(xs, weights, layer)
        xs, training.batch_stats[layer.name] = batch_norm.in_training(xs, weights, layer, data_axis)
        return xs

    def _unstacked(self, layer: str, kind: str) -> list[jax.Array]:
        """Return a layer's kernels or biases, one for each tower, in the type of the network.

        Unstacking has a cheaper gradient than indexing. The cast comes last: float32 is stacked faster.
        """
        return [x.astype(self.dtype) for x in jnp.unstack(self.weights[layer][kind][...])]

    def _logits(self, xs: list[jax.Array], tower_axis: str | None, batch_axis: str | None) -> jax.Array:
        """Multiply the units on each device, and sum over the devices."""
        weights = self.weights[self.layers[-1].name]
        logits = dense.sum_of_dense(xs, weights["kernel"][...])
        if batch_axis is not None:
            logits = lax.psum_scatter(logits, batch_axis, scatter_dimension=0, tiled=True)
        if tower_axis is not None:
            logits = lax.psum(logits, tower_axis)
        return logits + weights["bias"][0]


def build(config: ConfigDict) -> Net:
    """Build the network of a config, without values: its parameters are only shapes and types.

    Raises:
      UserError: the layers do not fit one another or the image.
    """
    net, size = config.net, config.data.crop_size
    last = net.layers[-1] if net.layers else None
    if isinstance(last, Classifier) and not last.classes:
        raise UserError(
            f"net.layers: {last.name} has as many classes as the data, whose number is not known yet: set it"
            " with layers.with_classes(config.net.layers, classes)"
        )

    def create() -> Net:
        return Net(tuple(net.layers), net.towers, (size, size, 3), config.dtype, key=jax.random.key(0))

    return nnx.eval_shape(create)


def init(model: Net, key: jax.Array) -> Params:
    """Draw new parameters, float32. They depend only on the key, the layer's name and the tower."""

    @jax.jit
    def initialize(key: jax.Array) -> Params:
        return _params(Net(model.layers, model.towers, model.image_shape, model.dtype, key=key))

    return initialize(key)


def apply(model: Net, params: Params, images_BxHxWxC: jax.Array, **kwargs: Any) -> jax.Array:
    """Compute logits of shape (batch, classes). By default at test, on one device. See `Net.__call__`.

    Args:
      model: from `build`.
      params: from `init` or `restore`.
      images_BxHxWxC: cropped images, float, after subtraction of the mean.
      **kwargs: ``training``, ``tower_axis``, ``data_axis`` and ``split_units``.
    """
    return _with_params(model, params)(images_BxHxWxC, **kwargs)


def hidden(
    model: Net,
    params: Params,
    images_BxHxWxC: jax.Array,
    layer: str | None = None,
    *,
    tower_axis: str | None = None,
) -> jax.Array:
    """Compute the activations of a layer at test, float32.

    Args:
      model: from `build`.
      params: from `init` or `restore`.
      images_BxHxWxC: cropped images, float, after subtraction of the mean.
      layer: name of the layer; by default the units that the classifier reads, flattened for each tower.
      tower_axis: mesh axis over which the towers are split, inside a ``shard_map``.

    Returns:
      The output of the layer, of shape (batch, height, width, towers on this device x channels) or
      (batch, towers on this device x units). For the classifier the logits, of shape (batch, classes).

    Raises:
      UserError: there is no such layer.
    """
    return _with_params(model, params).hidden(images_BxHxWxC, layer, tower_axis=tower_axis)


def _with_params(model: Net, params: Params) -> Net:
    graphdef, state = nnx.split(model)
    nnx.replace_by_pure_dict(state, {"weights": params})
    return nnx.merge(graphdef, state)


def abstract_params(model: Net) -> Params:
    """Return the shapes and types of a network's parameters."""
    return _params(model)


def _params(model: Net) -> Params:
    return nnx.to_pure_dict(nnx.state(model, nnx.Param))["weights"]


def _with_biases(xs: list[jax.Array], biases: list[jax.Array]) -> list[jax.Array]:
    return [pointwise.add_bias(x, bias) for x, bias in zip(xs, biases, strict=True)]


def _dropout(
    layer: Dropout,
    xs: list[jax.Array],
    training: Training | None,
    tower_axis: str | None,
    batch_axis: str | None,
) -> list[jax.Array]:
    """Draw a mask for each example and tower, so that the masks are the same on any mesh."""
    keep = 1 - layer.rate
    if training is None:
        return [x * keep for x in xs] if layer.scale_at == "test" else xs
    first_tower = 0 if tower_axis is None else lax.axis_index(tower_axis) * len(xs)
    # With a batch axis, xs hold all examples and this device's part of a tower's units.
    parts, part = (1, 0) if batch_axis is None else (lax.axis_size(batch_axis), lax.axis_index(batch_axis))
    examples, *shape = xs[0].shape
    positions_B = training.positions(examples, batch_axis)
    keys_B = jax.vmap(jax.random.fold_in, (None, 0))(training.dropout_key, positions_B)
    units = math.prod(shape)

    def mask(tower: jax.Array | int) -> jax.Array:
        def draw(key: jax.Array) -> jax.Array:
            key = jax.random.fold_in(named_key(key, layer.name), tower)
            drawn = jax.random.bernoulli(key, keep, (units * parts,))
            return drawn if parts == 1 else lax.dynamic_slice(drawn, (part * units,), (units,))

        return jax.vmap(draw)(keys_B).reshape(examples, *shape)

    kept = [jnp.where(mask(first_tower + i), x, 0) for i, x in enumerate(xs)]
    return kept if layer.scale_at == "test" else [x / keep for x in kept]


def _initial(weights: Weights, key: jax.Array) -> dict[str, jax.Array]:
    """Draw the initial weights of a layer. Each tower has its own key."""

    def draw(kind: str, shape: Shape) -> jax.Array:
        towers, size = shape[0], math.prod(shape[1:])
        keys = jax.vmap(jax.random.fold_in, (None, 0))(named_key(key, kind), jnp.arange(towers))
        if weights.std == "fan_in":
            limit = 1 / math.sqrt(weights.fan_in)
            flat = jax.vmap(lambda k: jax.random.uniform(k, (size,), minval=-limit, maxval=limit))(keys)
        elif kind in (constants := {"bias": weights.bias, "scale": 1.0, "mean": 0.0, "variance": 1.0}):
            return jnp.full(shape, constants[kind], jnp.float32)
        else:  # drawn flat: XLA takes ten times as long to compile draws of several dimensions
            flat = weights.mean + weights.std * jax.vmap(lambda k: jax.random.normal(k, (size,)))(keys)
        return flat.reshape(shape)

    return {kind: draw(kind, shape) for kind, shape in weights.shapes.items()}
