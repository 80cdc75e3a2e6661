"""One Flax module runs any tuple of layers, the towers written once.

Parameters are ``{"conv1": {"kernel", "bias"}, ...}``, each array with a leading tower axis.
Activations are a list with one array for each tower that lives on this device: all of them on a
single device, or this device's share inside a ``jax.shard_map`` over the mesh axis named in
``tower_axis``. Where a layer reads all towers there is one all-gather over that axis, and after
the classifier one sum; nothing else crosses.

With ``batch_axis``, Krizhevsky's "one weird trick" (2014): the dense layers' units are split over
the axis that splits the batch. Their input is gathered, so that each device computes its units of
every example (shapes ``Gxunits``, G for the global batch), and the classifier's sum gives each
device its own examples back.
"""

import math
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from ml_collections import ConfigDict

from alexnet_jax.errors import UserError
from alexnet_jax.layers import (
    LRN,
    AvgPool,
    Classifier,
    Conv,
    Dense,
    Dropout,
    Layer,
    Layers,
    Local,
    MapNorm,
    MaxPool,
    ReLU,
    Tanh,
)
from alexnet_jax.net.ops import block, conv, dense, lrn, pointwise, pool
from alexnet_jax.net.shapes import LayerShapes, Shape, layer_shapes

Params: TypeAlias = dict[str, dict[str, Any]]
"""``{"conv1": {"kernel": array, "bias": array}, ...}``; or the same tree of anything else."""


class Net(nnx.Module):
    """The network that a tuple of layers describes.

    Attributes:
      layers: the tuple.
      towers: how many towers it has, over all devices.
      image_shape: (height, width, channels) of the images as the net sees them.
      dtype: the type it computes in; parameters, normalizations' sums and logits are float32.
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
                    jax.tree.map(nnx.Param, _initial(shapes, named_key(key, shapes.layer.name)))
                )
                for shapes in layer_shapes(layers, towers, image_shape)
                if shapes.params
            }
        )

    def __call__(
        self,
        images_BxHxWxC: jax.Array,
        *,
        dropout_key: jax.Array | None = None,
        first: jax.Array | int = 0,
        tower_axis: str | None = None,
        batch_axis: str | None = None,
        features: bool = False,
    ) -> jax.Array:
        """Logits, float32, of shape (batch, classes); or ``features``, the last hidden layer.

        Args:
          images_BxHxWxC: cropped, the mean subtracted, float.
          dropout_key: the key of this step while training; None at test.
          first: the position of the first image in the whole batch.
          tower_axis: the mesh axis over which the towers are split, inside a ``shard_map``.
          batch_axis: the mesh axis over which the batch is split, if the dense layers' units are too.
          features: return what the classifier reads, float32 of shape (batch, towers here x units).
        """
        towers = self.weights[self.layers[-1].name]["kernel"].shape[0]  # that this device holds
        xs = [images_BxHxWxC.astype(self.dtype)] * towers
        for shapes, then in _stages(layer_shapes(self.layers, self.towers, self.image_shape)):
            layer = shapes.layer
            with jax.named_scope(layer.name):
                xs = _gathered(shapes, xs, tower_axis, batch_axis)
                split_units = batch_axis if xs[0].ndim == 2 else None
                if isinstance(layer, Classifier):
                    if features:
                        flat = [x.reshape(len(x), -1) for x in xs]
                        return jnp.concatenate(flat, axis=-1).astype(jnp.float32)
                    return self._logits(layer, xs, tower_axis, split_units)
                if isinstance(layer, Dropout):
                    xs = _dropout(layer, xs, dropout_key, first, tower_axis, split_units)
                elif isinstance(layer, LRN) and shapes.gathers:
                    xs = _lrn_across_towers(layer, xs, tower_axis)
                elif isinstance(layer, Conv) and then:
                    xs, biases = self._convolved(layer, xs)
                else:
                    xs = self._run(layer, xs)
            if then:
                xs = [block.relu_lrn_max_pool(x, bias, *then) for x, bias in zip(xs, biases, strict=True)]
        raise AssertionError("a net ends in its classifier")

    def _run(self, layer: Layer, xs: list[jax.Array]) -> list[jax.Array]:
        """A layer on each tower of this device."""
        match layer:
            case Conv():
                xs, biases = self._convolved(layer, xs)
                return [pointwise.add_bias(x, bias) for x, bias in zip(xs, biases, strict=True)]
            case Local():
                kernels, biases = self._towers(layer, "kernel"), self._towers(layer, "bias")
                triples = zip(xs, kernels, biases, strict=True)
                return [pointwise.add_bias(conv.local(x, kernel, layer), bias) for x, kernel, bias in triples]
            case Dense():
                products = dense.dense_of_towers(xs, self.weights[layer.name]["kernel"][...])
                biases = self._towers(layer, "bias")
                return [pointwise.add_bias(x, bias) for x, bias in zip(products, biases, strict=True)]
            case ReLU():
                return [pointwise.relu(x) for x in xs]
            case Tanh():
                return [jnp.tanh(x) for x in xs]
            case LRN():
                return [lrn.lrn(x, layer) for x in xs]
            case MapNorm():
                return [lrn.map_norm(x, layer) for x in xs]
            case MaxPool():
                return [pool.max_pool(x, layer) for x in xs]
            case AvgPool():
                return [pool.avg_pool(x, layer) for x in xs]
        raise AssertionError(f"no such layer: {layer}")

    def _convolved(self, layer: Conv, xs: list[jax.Array]) -> tuple[list[jax.Array], list[jax.Array]]:
        """A convolution of each tower of this device, and the biases that are still to be added."""
        pairs = zip(xs, self._towers(layer, "kernel"), strict=True)
        convolved = [conv.conv(x, kernel, layer.stride, layer.padding) for x, kernel in pairs]
        return convolved, self._towers(layer, "bias")

    def _towers(self, layer: Conv | Local | Dense, name: str) -> list[jax.Array]:
        """Unstacking has a cheaper gradient than indexing; cast after it, as float32 is stacked quicker."""
        return [x.astype(self.dtype) for x in jnp.unstack(self.weights[layer.name][name][...])]

    def _logits(
        self, layer: Classifier, xs: list[jax.Array], tower_axis: str | None, batch_axis: str | None
    ) -> jax.Array:
        """Each device multiplies its own units, one sum over the devices makes the logits."""
        logits = dense.sum_of_dense(xs, self.weights[layer.name]["kernel"][...])
        if batch_axis is not None:
            logits = lax.psum_scatter(logits, batch_axis, scatter_dimension=0, tiled=True)
        if tower_axis is not None:
            logits = lax.psum(logits, tower_axis)
        return logits + self.weights[layer.name]["bias"][0]


def build(config: ConfigDict) -> Net:
    """The net of a config, without values: its parameters are shapes and types alone.

    Raises:
      UserError: layers that don't fit one another or the image.
    """
    net, size = config.net, config.data.crop_size
    if net.layers and not getattr(net.layers[-1], "classes", 1):
        raise UserError(
            f"net.layers: {net.layers[-1].name} has as many classes as the data, which are not known yet:"
            " give it layers.with_classes(config.net.layers, classes)"
        )

    def create() -> Net:
        return Net(tuple(net.layers), net.towers, (size, size, 3), config.dtype, key=jax.random.key(0))

    return nnx.eval_shape(create)


def init(model: Net, key: jax.Array) -> Params:
    """New parameters, float32: a function of the key, the layer's name and the tower alone."""

    @jax.jit
    def initialize(key: jax.Array) -> Params:
        return _params(Net(model.layers, model.towers, model.image_shape, model.dtype, key=key))

    return initialize(key)


def apply(model: Net, params: Params, images_BxHxWxC: jax.Array, **kwargs: Any) -> jax.Array:
    """Logits of shape (batch, classes); by default at test, on one device. See `Net.__call__`.

    Args:
      model: from `build`.
      params: from `init` or `restore`.
      images_BxHxWxC: as the net sees them: cropped, the mean subtracted, float.
      **kwargs: ``dropout_key``, ``first``, ``tower_axis``, ``batch_axis`` and ``features``.
    """
    graphdef, state = nnx.split(model)
    nnx.replace_by_pure_dict(state, {"weights": params})
    return nnx.merge(graphdef, state)(images_BxHxWxC, **kwargs)


def abstract_params(model: Net) -> Params:
    """The shapes and types of a net's parameters."""
    return _params(model)


def named_key(key: jax.Array, name: str) -> jax.Array:
    """A key for a purpose. By name, not by number: taking a layer out leaves the others' draws alone."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def _params(model: Net) -> Params:
    return nnx.to_pure_dict(nnx.state(model, nnx.Param))["weights"]


def _stages(layers: Sequence[LayerShapes]) -> Iterator[tuple[LayerShapes, tuple[ReLU, LRN, MaxPool] | None]]:
    """Layer by layer; ReLU, LRN and max pooling that follow a convolution come with it."""
    while layers:
        match [shapes.layer for shapes in layers[:4]]:
            case [Conv(), ReLU() as relu, LRN() as norm, MaxPool() as pool] if not layers[2].gathers:
                yield layers[0], (relu, norm, pool)
                layers = layers[4:]
            case _:
                yield layers[0], None
                layers = layers[1:]


def _gathered(
    shapes: LayerShapes, xs: list[jax.Array], tower_axis: str | None, batch_axis: str | None
) -> list[jax.Array]:
    """What a layer reads, from whatever devices hold it."""
    dense_axis = batch_axis if isinstance(shapes.layer, Dense) else None
    if dense_axis is not None and xs[0].ndim == 2:
        xs = _read_all_units(xs, dense_axis)
    if shapes.gathers and not isinstance(shapes.layer, LRN):  # which reads the next maps alone
        xs = _read_all_towers(xs, tower_axis)
    if dense_axis is not None and xs[0].ndim == 4:
        xs = _read_all_examples(xs, dense_axis)
    return xs


def _read_all_towers(xs: list[jax.Array], tower_axis: str | None) -> list[jax.Array]:
    """Every tower's maps (or units), one tower after the other, for each tower of this device."""
    x = jnp.concatenate(xs, axis=-1)
    # A gathering from a device to itself is no traffic, but on a CPU it would still have its maps apart.
    if tower_axis is not None and lax.axis_size(tower_axis) > 1:
        x = lax.all_gather(x, tower_axis, axis=x.ndim - 1, tiled=True)
    return [x] * len(xs)


def _read_all_examples(xs: list[jax.Array], batch_axis: str) -> list[jax.Array]:
    """Every device's examples. Towers that all hold the same array are gathered once."""
    distinct = xs[:1] if all(x is xs[0] for x in xs) else xs
    maps = xs[0].shape[-1]
    x_GxHxWxM = lax.all_gather(jnp.concatenate(distinct, axis=-1), batch_axis, axis=0, tiled=True)
    gathered = [x_GxHxWxM[..., i * maps : (i + 1) * maps] for i in range(len(distinct))]
    return gathered * (len(xs) // len(distinct))


def _read_all_units(xs: list[jax.Array], batch_axis: str) -> list[jax.Array]:
    """All units of this device's towers, of which it holds a part of each."""
    x_GxTxU = lax.all_gather(jnp.stack(xs, axis=1), batch_axis, axis=2, tiled=True)
    return list(jnp.unstack(x_GxTxU, axis=1))


def _lrn_across_towers(layer: LRN, xs: list[jax.Array], tower_axis: str | None) -> list[jax.Array]:
    """The window runs on into the next tower: all towers' first and last maps are gathered, no others."""
    reach_before, reach_after = layer.reach
    firsts = [x[..., :reach_after] for x in xs]
    lasts = [x[..., x.shape[-1] - reach_before :] for x in xs]
    edges_TxBxHxWxE = jnp.stack([jnp.concatenate(pair, axis=-1) for pair in zip(firsts, lasts, strict=True)])
    first_tower: jax.Array | int = 0
    if tower_axis is not None:
        edges_TxBxHxWxE = lax.all_gather(edges_TxBxHxWxE, tower_axis, axis=0, tiled=True)
        first_tower = lax.axis_index(tower_axis) * len(xs)
    # Nothing before the first tower, nothing after the last.
    around = jnp.pad(edges_TxBxHxWxE, [(1, 1), (0, 0), (0, 0), (0, 0), (0, 0)])

    def normalized(x: jax.Array, tower: jax.Array | int) -> jax.Array:
        before, after = (lax.dynamic_index_in_dim(around, tower + i, keepdims=False) for i in (0, 2))
        return lrn.lrn(x, layer, before[..., reach_after:], after[..., :reach_after])

    return [normalized(x, first_tower + i) for i, x in enumerate(xs)]


def _dropout(
    layer: Dropout,
    xs: list[jax.Array],
    key: jax.Array | None,
    first: jax.Array | int,
    tower_axis: str | None,
    batch_axis: str | None,
) -> list[jax.Array]:
    """Masks are drawn for each example and tower, so that they are the same on any mesh."""
    keep = 1 - layer.rate
    if key is None:
        return [x * keep for x in xs] if layer.scale_at == "test" else xs
    first_tower = 0 if tower_axis is None else lax.axis_index(tower_axis) * len(xs)
    # With a batch axis these are all examples, and this device's part of a tower's units.
    parts, part = (1, 0) if batch_axis is None else (lax.axis_size(batch_axis), lax.axis_index(batch_axis))
    examples, *shape = xs[0].shape
    positions_B = (first if batch_axis is None else 0) + jnp.arange(examples)
    keys_B = jax.vmap(jax.random.fold_in, (None, 0))(key, positions_B)
    units = math.prod(shape)

    def mask(tower: jax.Array | int) -> jax.Array:
        def draw(key: jax.Array) -> jax.Array:
            key = jax.random.fold_in(named_key(key, layer.name), tower)
            drawn = jax.random.bernoulli(key, keep, (units * parts,))
            return drawn if parts == 1 else lax.dynamic_slice(drawn, (part * units,), (units,))

        return jax.vmap(draw)(keys_B).reshape(examples, *shape)

    kept = [jnp.where(mask(first_tower + i), x, 0) for i, x in enumerate(xs)]
    return kept if layer.scale_at == "test" else [x / keep for x in kept]


def _initial(shapes: LayerShapes, key: jax.Array) -> dict[str, jax.Array]:
    """A layer's initial weights, each tower's from a key of its own."""
    layer = shapes.layer
    assert isinstance(layer, Conv | Local | Dense | Classifier)

    def draw(name: str) -> jax.Array:
        shape = shapes.params[name]
        towers, size = shape[0], math.prod(shape[1:])
        keys = jax.vmap(jax.random.fold_in, (None, 0))(named_key(key, name), jnp.arange(towers))
        if layer.std == "fan_in":
            limit = 1 / math.sqrt(shapes.fan_in)
            flat = jax.vmap(lambda k: jax.random.uniform(k, (size,), minval=-limit, maxval=limit))(keys)
        elif name == "bias":
            return jnp.full(shape, layer.bias, jnp.float32)
        else:  # drawn flat: XLA takes ten times as long to compile draws of several dimensions
            flat = layer.std * jax.vmap(lambda k: jax.random.normal(k, (size,)))(keys)
        return flat.reshape(shape)

    return {name: draw(name) for name in shapes.params}
