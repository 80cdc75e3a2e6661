"""The shapes that follow from a net's layers: of what each reads, makes, and learns.

Nothing here imports JAX. Shapes are per tower and per example: ``(height, width, maps)`` or ``(units,)``.
"""

import dataclasses
import math
from collections.abc import Iterable
from typing import TypeAlias

from alexnet_jax.errors import UserError
from alexnet_jax.layers import (
    LRN,
    AvgPool,
    Classifier,
    Conv,
    Dense,
    Layer,
    Local,
    MapNorm,
    MaxPool,
)

Shape: TypeAlias = tuple[int, ...]

_WORDS = {"reads": ("own", "all"), "std": ("fan_in",), "scale_at": ("test", "training")}


@dataclasses.dataclass(frozen=True)
class LayerShapes:
    """A layer at its place in a net.

    Attributes:
      layer: what it is.
      inputs: the shape of what it reads, per tower.
      outputs: the shape of what it makes, per tower.
      gathers: whether it reads other towers than its own. (The image is the same for all of them:
        from the first weights on they hold different things.)
      shared: whether what it reads is still the same for all towers, the image.
      params: the shapes of the whole net's arrays, with their leading tower axis. A classifier's
        bias belongs to no tower: its axis has size 1.
    """

    layer: Layer
    inputs: Shape
    outputs: Shape
    gathers: bool
    shared: bool
    params: dict[str, Shape]

    @property
    def fan_in(self) -> int:
        """How many numbers each output is computed from."""
        towers, *inputs, _ = self.params["kernel"]
        if isinstance(self.layer, Local):
            inputs = inputs[2:]  # height and width are those of the places
        return math.prod(inputs) * (towers if isinstance(self.layer, Classifier) else 1)


def layer_shapes(layers: Iterable[Layer], towers: int, image_shape: Shape) -> list[LayerShapes]:
    """Follows the shapes through a net of ``towers`` towers that all read the image.

    Raises:
      UserError: a name that stands twice, a window larger than its input, a layer that reads
        maps where there are only units, a net that does not end in its one classifier.
    """
    shapes: list[LayerShapes] = []
    shape = image_shape
    names: set[str] = set()
    split = False  # whether the towers hold different things yet
    for layer in layers:
        if layer.name in names:
            raise UserError(f"net.layers: two layers are named {layer.name}")
        names.add(layer.name)
        _check_fields(layer)
        if shapes and isinstance(shapes[-1].layer, Classifier):
            raise UserError(f"net.layers: {layer.name} comes after the classifier")
        inputs = shape
        gathers = towers > 1 and split and getattr(layer, "reads", "own") == "all"
        if isinstance(layer, LRN) and gathers and inputs[-1] < max(layer.reach):
            raise UserError(f"net.layers: {layer.name} reaches beyond the next tower's {inputs[-1]} maps")
        read = towers if gathers else 1
        params: dict[str, Shape] = {}
        if isinstance(layer, Conv | Local | LRN | MapNorm | MaxPool | AvgPool) and len(shape) != 3:
            raise UserError(f"net.layers: {layer.name} needs maps, but its input has the shape {shape}")
        match layer:
            case Conv():
                height, width = (
                    _windows(layer, size + sum(layer.padding), layer.kernel, layer.stride, False)
                    for size in inputs[:2]
                )
                shape = (height, width, layer.features)
                params["kernel"] = (towers, layer.kernel, layer.kernel, inputs[-1] * read, layer.features)
                params["bias"] = (towers, layer.features)
            case Local():
                height, width = (
                    _windows(layer, size + sum(layer.padding), layer.kernel, 1, False) for size in inputs[:2]
                )
                shape = (height, width, layer.features)
                params["kernel"] = (
                    towers,
                    height,
                    width,
                    layer.kernel**2 * inputs[-1] * read,
                    layer.features,
                )
                params["bias"] = (towers, *shape)
            case Dense():
                shape = (layer.units,)
                params["kernel"] = (towers, math.prod(inputs) * read, layer.units)
                params["bias"] = (towers, layer.units)
            case Classifier():
                shape = (layer.classes,)
                params["kernel"] = (towers, math.prod(inputs), layer.classes)
                params["bias"] = (1, layer.classes)
            case MaxPool() | AvgPool():
                height, width = (
                    _windows(layer, size, layer.window, layer.stride, layer.ceil) for size in inputs[:2]
                )
                shape = (height, width, inputs[-1])
        shapes.append(LayerShapes(layer, inputs, shape, gathers, not split, params))
        split = split or bool(params)
    if not shapes or not isinstance(shapes[-1].layer, Classifier):
        raise UserError("net.layers: the last layer must be a Classifier")
    return shapes


def _check_fields(layer: Layer) -> None:
    """Whether each number can be one of its kind: sizes from 1, fractions below 1, the rest finite."""
    for field, value in dataclasses.asdict(layer).items():
        if field == "classes":
            holds, meaning = isinstance(value, int) and value >= 0, "a whole number, 0: as the data has"
        elif field in ("features", "units", "kernel", "stride", "window"):
            holds, meaning = isinstance(value, int) and value > 0, "a positive whole number"
        elif field == "padding":
            holds, meaning = len(value) == 2 and min(value) >= 0, "(before, after), not negative"
        elif field == "rate":
            holds, meaning = 0 <= value < 1, "at least 0 and below 1"
        elif isinstance(value, float | int):
            holds, meaning = (
                math.isfinite(value) and (value >= 0 or field == "bias"),
                "finite and not negative",
            )
        elif field in _WORDS:
            holds, meaning = value in _WORDS[field], " or ".join(_WORDS[field])
        else:
            continue
        if not holds:
            raise UserError(f"net.layers: {layer.name}.{field} is {value}, but must be {meaning}")


def _windows(layer: Conv | Local | MaxPool | AvgPool, size: int, window: int, stride: int, ceil: bool) -> int:
    """How many windows fit along one direction."""
    if size < window:
        raise UserError(f"net.layers: {layer.name} has a window of {window}, but its input has only {size}")
    extra = stride - 1 if ceil else 0
    return (size - window + extra) // stride + 1
