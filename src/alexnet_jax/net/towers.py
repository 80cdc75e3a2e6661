"""Exchange between towers, and between the devices that split the batch.

``tower_axis`` and ``batch_axis`` are the axes of the mesh over which these devices lie; None: on one device.

Channels of towers are gathered along a new first axis and then concatenated. XLA for GPUs would transpose
them before and after an all-gather along the last axis. In the backward pass, XLA for TPUs would make an
all-reduce of such a reduce-scatter, which sends twice as much.
"""

import jax
import jax.numpy as jnp
from jax import lax

from alexnet_jax.layers import LRN
from alexnet_jax.net.ops import lrn
from alexnet_jax.net.shapes import LayerShapes


def gathered(
    shapes: LayerShapes, xs: list[jax.Array], tower_axis: str | None, batch_axis: str | None
) -> list[jax.Array]:
    """Gather what a layer reads from the devices that hold it."""
    reads_all_units = shapes.weights is not None and shapes.weights.reads_all_units
    units_axis = batch_axis if reads_all_units else None
    if units_axis is not None and xs[0].ndim == 2:
        xs = _read_all_units(xs, units_axis)
    if shapes.gathers and not isinstance(shapes.layer, LRN):  # see `lrn_across_towers`
        xs = _read_all_towers(xs, tower_axis)
    if units_axis is not None and xs[0].ndim == 4:
        xs = _read_all_examples(xs, units_axis)
    return xs


def _read_all_towers(xs: list[jax.Array], tower_axis: str | None) -> list[jax.Array]:
    """Concatenate the channels (or units) of all towers, for each tower of this device."""
    x = jnp.concatenate(xs, axis=-1)
    if tower_axis is not None and lax.axis_size(tower_axis) > 1:  # on a CPU, one device would copy
        x = jnp.concatenate(jnp.unstack(lax.all_gather(x, tower_axis)), axis=-1)
    return [x] * len(xs)


def _read_all_examples(xs: list[jax.Array], batch_axis: str) -> list[jax.Array]:
    """Gather the examples of all devices. If all towers hold the same array, gather it once."""
    distinct = xs[:1] if all(x is xs[0] for x in xs) else xs
    channels = xs[0].shape[-1]
    x_GxHxWxC = lax.all_gather(jnp.concatenate(distinct, axis=-1), batch_axis, axis=0, tiled=True)
    gathered = [x_GxHxWxC[..., i * channels : (i + 1) * channels] for i in range(len(distinct))]
    return gathered * (len(xs) // len(distinct))


def _read_all_units(xs: list[jax.Array], batch_axis: str) -> list[jax.Array]:
    """Gather all units of this device's towers. The device itself holds a part of each tower."""
    x_GxTxU = lax.all_gather(jnp.stack(xs, axis=1), batch_axis, axis=2, tiled=True)
    return list(jnp.unstack(x_GxTxU, axis=1))


def lrn_across_towers(layer: LRN, xs: list[jax.Array], tower_axis: str | None) -> list[jax.Array]:
    """Apply an LRN whose window continues into the next tower, and gather only the channels it needs."""
    reach_before, reach_after = layer.reach
    firsts = [x[..., :reach_after] for x in xs]
    lasts = [x[..., x.shape[-1] - reach_before :] for x in xs]
    edges_TxBxHxWxE = jnp.stack([jnp.concatenate(pair, axis=-1) for pair in zip(firsts, lasts, strict=True)])
    first_tower: jax.Array | int = 0
    if tower_axis is not None:
        edges_TxBxHxWxE = lax.all_gather(edges_TxBxHxWxE, tower_axis, axis=0, tiled=True)
        first_tower = lax.axis_index(tower_axis) * len(xs)
    # Zeros before the first tower and after the last.
    around = jnp.pad(edges_TxBxHxWxE, [(1, 1), (0, 0), (0, 0), (0, 0), (0, 0)])

    def normalized(x: jax.Array, tower: jax.Array | int) -> jax.Array:
        before, after = (lax.dynamic_index_in_dim(around, tower + i, keepdims=False) for i in (0, 2))
        return lrn.lrn(x, layer, before[..., reach_after:], after[..., :reach_after])

    return [normalized(x, first_tower + i) for i, x in enumerate(xs)]
