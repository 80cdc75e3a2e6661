"""What crosses between the devices in one training step: the paper's own question, as a list.

`expected` counts it from the layers alone. ``hlo.collectives`` reads it out of a compiled program, and
the tests hold one against the other. Nothing here imports JAX.
"""

import dataclasses
import math
from collections.abc import Iterable
from typing import Literal, TypeAlias

from ml_collections import ConfigDict

from alexnet_jax.layers import LRN, Classifier, Conv, Dense, Local
from alexnet_jax.net.shapes import layer_shapes

Pass: TypeAlias = Literal["forward", "backward", "update"]


@dataclasses.dataclass(frozen=True)
class Collective:
    """One exchange between devices.

    Attributes:
      kind: HLO's word: ``all-gather``, ``reduce-scatter``, ``all-reduce`` ...
      axes: the mesh axes it goes over.
      layers: whose numbers they are; none for the metrics alone.
      direction: ``forward``, ``backward`` or ``update``: the pass it belongs to.
      bytes: of the whole array that comes together: what an all-gather makes, what a
        reduce-scatter or an all-reduce adds up.
    """

    kind: str
    axes: tuple[str, ...]
    layers: tuple[str, ...]
    direction: Pass
    bytes: int

    def sent(self, sizes: dict[str, int]) -> float:
        """Bytes that each device sends, and receives, if it goes around a ring (axis sizes by name)."""
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
    """Everything that one training step may send on a mesh of ``data`` x ``tower`` devices, and no more.

    Over ``tower``: an all-gather into each layer that reads all towers, whose gradient is a
    reduce-scatter (into an LRN across towers their first and last maps alone), and one sum of the
    partial logits. Over ``data``: one sum of the gradients, with the
    two metrics. ``one_weird_trick`` gathers each dense layer's input over ``data`` and scatters the sum
    of the logits, and leaves those layers out of the sum of gradients.

    Args:
      config: the recipe.
      data: shards of the batch.
      tower: shards of the towers.
      gathered_itemsize: bytes of a number in an all-gather, where the compiler chose another type than
        ``config.dtype``.
      scattered_itemsize: the same for reduce-scatters.
    """
    computed = {"float32": 4, "bfloat16": 2}[config.dtype]
    gathered, scattered = gathered_itemsize or computed, scattered_itemsize or computed
    size, towers = config.data.crop_size, config.net.towers
    batch, trick = config.batch_size // data, config.parallelism == "one_weird_trick"
    found: list[Collective] = []
    summed: list[str] = []
    sum_bytes = 2 * 4  # the loss and the error

    def gather(axis: str, layer: str, numbers: int, has_gradient: bool = True) -> None:
        found.append(Collective("all-gather", (axis,), (layer,), "forward", numbers * gathered))
        if has_gradient:
            found.append(Collective("reduce-scatter", (axis,), (layer,), "backward", numbers * scattered))

    for shapes in layer_shapes(config.net.layers, towers, (size, size, 3)):
        layer, name = shapes.layer, shapes.layer.name
        if isinstance(layer, LRN) and shapes.gathers and tower > 1:
            edges = math.prod(shapes.inputs[:-1]) * (layer.window - 1) * towers
            gather("tower", name, batch * edges)
        if not isinstance(layer, Conv | Local | Dense | Classifier):
            continue
        # What a device holds of the layer's input: of its own towers, or of all, once it is gathered.
        inputs = math.prod(shapes.inputs)
        own = inputs * (1 if shapes.shared else towers // tower)
        everything = inputs * towers if shapes.gathers else own
        wide = (
            trick and len(shapes.inputs) == 1
        )  # the input is dense units: all examples, a part of the units
        examples = config.batch_size if wide else batch
        if wide and data > 1 and isinstance(layer, Dense):
            gather("data", name, examples * own)
        if shapes.gathers and tower > 1:
            gather("tower", name, examples * everything)
        if trick and not wide and data > 1 and isinstance(layer, Dense):
            gather("data", name, config.batch_size * everything, has_gradient=not shapes.shared)
        if isinstance(layer, Classifier):
            if wide and data > 1:
                logits = examples * layer.classes  # float32, whatever the rest is
                found.append(Collective("reduce-scatter", ("data",), (name,), "forward", logits * 4))
                back = logits * (gathered_itemsize or 4)
                found.append(Collective("all-gather", ("data",), (name,), "backward", back))
            if tower > 1:
                found.append(
                    Collective("all-reduce", ("tower",), (name,), "forward", batch * layer.classes * 4)
                )
        split_units = trick and (isinstance(layer, Dense) or wide)
        numbers = {kind: math.prod(shape) // min(tower, shape[0]) for kind, shape in shapes.params.items()}
        if isinstance(layer, Classifier) and split_units:
            numbers.pop("kernel")
        elif split_units:
            continue
        summed.append(name)
        sum_bytes += 4 * sum(numbers.values())
    if data > 1:
        found.append(Collective("all-reduce", ("data",), tuple(summed), "backward", sum_bytes))
    return found


def sent_by_each(collectives: Iterable[Collective], data: int, tower: int) -> float:
    """Bytes that each device sends in a step."""
    return sum(c.sent({"data": data, "tower": tower}) for c in collectives)
