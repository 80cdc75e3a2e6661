"""The list of collectives in one training step: everything that the devices communicate.

`expected` derives the list from the layers alone. `plan.hlo.collectives` reads the list from a compiled
program, and the tests compare the two. Nothing here imports JAX.
"""

import collections
import dataclasses
import math
from collections.abc import Iterable
from typing import Literal, TypeAlias

from ml_collections import ConfigDict

from alexnet_jax.layers import AS_BIASES, STATISTICS, BatchNorm, Classifier, Layer
from alexnet_jax.net.shapes import config_shapes
from alexnet_jax.parallel.axes import DATA, TOWER, splits_units

Pass: TypeAlias = Literal["forward", "backward", "update"]


@dataclasses.dataclass(frozen=True)
class Collective:
    """One exchange between devices.

    Attributes:
      kind: name of the operation in HLO: ``all-gather``, ``reduce-scatter``, ``all-reduce`` ...
      axes: mesh axes over which it runs.
      layers: layers whose elements it communicates; empty if it communicates only metrics or norms.
      direction: pass that it belongs to: ``forward``, ``backward`` or ``update``.
      bytes: size of the whole array: the output of an all-gather, the input of a reduce-scatter or an
        all-reduce.
    """

    kind: str
    axes: tuple[str, ...]
    layers: tuple[str, ...]
    direction: Pass
    bytes: int

    def sent(self, sizes: dict[str, int]) -> float:
        """Return the bytes that each device sends, and also receives, around a ring.

        Args:
          sizes: sizes of the mesh axes, by name.
        """
        members = math.prod(sizes[axis] for axis in self.axes)
        rounds = 2 if self.kind == "all-reduce" else 1
        return rounds * self.bytes * (members - 1) / members


def expected(
    config: ConfigDict,
    data: int,
    tower: int,
    gathered_itemsize: int | None = None,
    scattered_itemsize: int | None = None,
) -> list[Collective]:
    """List everything that one training step may communicate on a mesh of ``data`` x ``tower`` devices.

    Over ``tower``: an all-gather into each layer that reads all towers, whose gradient is a reduce-scatter,
    and one sum of the partial logits. An LRN across towers gathers only their first and last channels.

    Batch normalization sums its statistics over ``data``, forward and backward, if a group of examples lies
    on several devices. Otherwise the running statistics are summed with the gradients. LARS sums the squares
    of the kernels and of their gradients, over the axes that split them.

    Over ``data``: one sum of the gradients, together with the two metrics. ``one_weird_trick`` also gathers
    the input of each dense layer and scatters the sum of the logits. The sum of the gradients then leaves out
    the weights that are split.

    Args:
      config: the recipe.
      data: number of parts of the batch.
      tower: number of groups of towers.
      gathered_itemsize: bytes of an element in an all-gather, if the compiler chose another type than
        ``config.dtype``.
      scattered_itemsize: bytes of an element in a reduce-scatter, likewise.
    """
    computed = {"float32": 4, "bfloat16": 2}[config.dtype]
    gathered, scattered = gathered_itemsize or computed, scattered_itemsize or computed
    towers = config.net.towers
    batch, split_units = config.batch_size // data, splits_units(config)
    found: list[Collective] = []
    summed: list[str] = []
    sum_bytes = 2 * 4  # the loss and the error

    def gather(axis: str, layer: str, elements: int, has_gradient: bool = True) -> None:
        found.append(Collective("all-gather", (axis,), (layer,), "forward", elements * gathered))
        if has_gradient:
            found.append(Collective("reduce-scatter", (axis,), (layer,), "backward", elements * scattered))

    for shapes in config_shapes(config):
        layer, name, weights = shapes.layer, shapes.layer.name, shapes.weights
        # Elements of the input on a device: of the towers that it holds, or of all towers after a gather.
        inputs = math.prod(shapes.inputs)
        own = inputs * (1 if shapes.shared else towers // tower)
        everything = inputs * towers if shapes.gathers else own
        # An input of units that are split over the data axis has the units of all examples.
        split_inputs = split_units and len(shapes.inputs) == 1
        examples = config.batch_size if split_inputs else batch
        split_outputs = split_units and weights is not None and weights.reads_all_units
        if split_inputs and split_outputs and data > 1:
            gather(DATA, name, examples * own)
        if shapes.gathers and tower > 1:
            gather(TOWER, name, examples * shapes.gathered * towers)
        if split_outputs and not split_inputs and data > 1:
            gather(DATA, name, config.batch_size * everything, has_gradient=not shapes.shared)
        if isinstance(layer, Classifier):
            if split_inputs and data > 1:
                logits = examples * layer.classes  # float32 in any network
                found.append(Collective("reduce-scatter", (DATA,), (name,), "forward", logits * 4))
                back = logits * (gathered_itemsize or 4)
                found.append(Collective("all-gather", (DATA,), (name,), "backward", back))
            if tower > 1:
                found.append(
                    Collective("all-reduce", (TOWER,), (name,), "forward", batch * layer.classes * 4)
                )
        if weights is None:
            continue
        groups = 0 if split_inputs else _groups_on_several(layer, config.batch_size, batch)
        if groups:
            sums = groups * 2 * (towers // tower) * shapes.inputs[-1] * 4
            found.append(Collective("all-reduce", (DATA,), (name,), "forward", sums))
            found.append(Collective("all-reduce", (DATA,), (name,), "backward", sums))
        whole = {kind: axes for kind, axes in weights.axes.items() if not (split_units and "units" in axes)}
        if whole:
            summed.append(name)
        for kind, axes in whole.items():
            if kind in STATISTICS and groups:
                continue
            sum_bytes += 4 * math.prod(weights.shapes[kind]) // (tower if "tower" in axes else 1)
    if data > 1:
        found.append(Collective("all-reduce", (DATA,), tuple(summed), "backward", sum_bytes))
    if config.optimizer.name == "lars":
        found += _sums_of_lars(config, {DATA: data, TOWER: tower})
    return found


def _groups_on_several(layer: Layer, batch_size: int, on_each: int) -> int:
    """Return the number of groups of a batch normalization if a group lies on several devices, or else 0."""
    if not isinstance(layer, BatchNorm):
        return 0
    group = layer.group_size(batch_size)
    return batch_size // group if on_each % group else 0


def _sums_of_lars(config: ConfigDict, sizes: dict[str, int]) -> list[Collective]:
    """List the sums of squares: two numbers for each kernel, over the axes that split it."""
    mesh_axes = {"tower": TOWER, "units": DATA if splits_units(config) else None, None: None}
    bytes_over: collections.Counter[tuple[str, ...]] = collections.Counter()
    for shapes in config_shapes(config):
        for kind, axes in ({} if shapes.weights is None else shapes.weights.axes).items():
            if kind not in AS_BIASES | STATISTICS:
                split = {mesh_axes[axis] for axis in axes}
                over = tuple(axis for axis in (DATA, TOWER) if axis in split and sizes[axis] > 1)
                bytes_over[over] += 2 * 4
    return [Collective("all-reduce", over, (), "update", size) for over, size in bytes_over.items() if over]


def sent_by_each(collectives: Iterable[Collective], data: int, tower: int) -> float:
    """Return the bytes that each device sends in a step."""
    return sum(c.sent({DATA: data, TOWER: tower}) for c in collectives)
