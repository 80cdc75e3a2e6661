"""The shapes of a network: inputs, outputs and weights of each layer. Nothing here imports JAX."""

import dataclasses
import math
from collections.abc import Iterable
from typing import Any, TypeAlias

from ml_collections import ConfigDict

from alexnet_jax.errors import UserError
from alexnet_jax.layers import STATISTICS, TYPES, Classifier, Layer, Shape, Weights

Params: TypeAlias = dict[str, dict[str, Any]]
"""``{"conv1": {"kernel": array, "bias": array}, ...}``, or the same tree of something else."""


@dataclasses.dataclass(frozen=True)
class LayerShapes:
    """A layer at its position in a network. Shapes are per tower and per example.

    Attributes:
      layer: the layer.
      inputs: shape of its input.
      outputs: shape of its output.
      gathered: number of elements of each tower's input that the other towers read; 0 if each tower reads
        its own. Before the first weights all towers hold the same image, so no tower reads another.
      shared: whether its input is the same in all towers, as before the first weights.
      weights: its weights, if it has any.
    """

    layer: Layer
    inputs: Shape
    outputs: Shape
    gathered: int
    shared: bool
    weights: Weights | None

    @property
    def gathers(self) -> bool:
        """Whether it reads towers other than its own."""
        return self.gathered > 0

    @property
    def reads_all_towers(self) -> bool:
        """Whether its output depends on all towers: it gathers them, or it is the classifier, which sums."""
        return self.gathers or (isinstance(self.layer, Classifier) and self.params["kernel"][0] > 1)

    @property
    def params(self) -> dict[str, Shape]:
        """The shapes of its weights in all towers; empty if it has none."""
        return {} if self.weights is None else self.weights.shapes

    @property
    def size(self) -> int:
        """The number of its parameters in all towers."""
        return sum(map(math.prod, self.params.values()))


def layer_shapes(layers: Iterable[Layer], towers: int, image_shape: Shape) -> list[LayerShapes]:
    """Compute the shapes of a network of ``towers`` towers that all read the image.

    Raises:
      UserError: a layer is not in `layers.TYPES`, two layers have the same name, a field has a value that it
        may not have, a layer does not fit its input, or the last layer is not the only classifier.
    """
    found: list[LayerShapes] = []
    inputs, split = image_shape, False  # split: whether the towers hold different arrays
    for layer in layers:
        if type(layer) not in TYPES.values():
            raise UserError(f"net.layers: {layer!r} is not a layer; layers are {', '.join(TYPES)}")
        if any(layer.name == before.layer.name for before in found):
            raise UserError(f"net.layers: two layers are named {layer.name}: rename one")
        if found and isinstance(found[-1].layer, Classifier):
            raise UserError(
                f"net.layers: {layer.name} comes after the classifier, which must be the last layer"
            )
        layer.check()
        outputs = layer.output_shape(inputs)
        gathered = layer.gathered(inputs) if towers > 1 and split else 0
        read = (*inputs[:-1], inputs[-1] * towers) if gathered else inputs
        weights = layer.weights(read, towers)
        found.append(LayerShapes(layer, inputs, outputs, gathered, not split, weights))
        inputs, split = outputs, split or weights is not None
    if not found or not isinstance(found[-1].layer, Classifier):
        raise UserError("net.layers: the last layer must be a Classifier")
    return found


def trainable(params: Params) -> Params:
    """Return the parameters that the optimizer changes: all but the running statistics."""
    return {
        name: {kind: array for kind, array in kinds.items() if kind not in STATISTICS}
        for name, kinds in params.items()
    }


def merged(params: Params, others: Params) -> Params:
    """Return the arrays of two trees that have different arrays of the same layers."""
    return {name: kinds | others.get(name, {}) for name, kinds in params.items()}


def multiplications(shapes: Iterable[LayerShapes]) -> int:
    """Return the number of multiplications of a network for one image, forward, in all towers."""
    return sum(layer.weights.multiplications for layer in shapes if layer.weights is not None)


def config_shapes(config: ConfigDict) -> list[LayerShapes]:
    """Compute the shapes of the network of a config.

    Raises:
      UserError: see `layer_shapes`.
    """
    side = config.data.crop_size
    return layer_shapes(config.net.layers, config.net.towers, (side, side, 3))
