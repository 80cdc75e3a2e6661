"""The network as data: frozen dataclasses that a config puts in a tuple.

Nothing here computes (``model`` does) and nothing imports JAX, so that a config
is read in no time. ``maps`` and ``units`` are counted per tower, as in figure 2 of
the paper; a layer reads its ``own`` tower or, where the towers talk, ``all`` of
them. Shapes are per tower and per example: ``(height, width, maps)`` or ``(units,)``.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeAlias

from alexnet_jax.errors import UserError

Reads: TypeAlias = Literal["own", "all"]
Std: TypeAlias = float | Literal["fan_in"]
Shape: TypeAlias = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Conv:
    """A convolution. ``padding`` is zeros (before, after) in both directions.

    ``std`` is the deviation of the initial Gaussian weights and ``bias`` the initial
    bias; ``std="fan_in"`` draws both uniformly from +-1/sqrt(fan-in), PyTorch's default.
    """

    name: str
    maps: int
    kernel: int
    stride: int = 1
    padding: tuple[int, int] = (0, 0)
    reads: Reads = "own"
    std: Std = 0.01
    bias: float = 0.0


@dataclasses.dataclass(frozen=True)
class Dense:
    """A fully-connected layer; images are flattened as height, width, maps."""

    name: str
    units: int
    reads: Reads = "own"
    std: Std = 0.01
    bias: float = 0.0


@dataclasses.dataclass(frozen=True)
class Classifier:
    """The last layer: each tower multiplies its own units, one sum over the towers makes the logits.

    ``classes=0``: as many as the data set has; see `with_classes`.
    """

    name: str
    classes: int
    std: Std = 0.01
    bias: float = 0.0


@dataclasses.dataclass(frozen=True)
class ReLU:
    """max(0, x), section 3.1."""

    name: str


@dataclasses.dataclass(frozen=True)
class LRN:
    """Local response normalization over neighbouring maps, section 3.3: of the own tower, in the paper.

    x / (k + alpha' * sum over ``window`` maps of x^2) ^ beta, where alpha' is ``alpha`` as the
    paper writes it, or ``alpha / window`` as its code, Caffe and PyTorch have it (``divide_alpha``).
    ``reads="all"`` lets the window run on into the next tower's maps, as Caffe's does.
    """

    name: str
    window: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 2.0
    divide_alpha: bool = False
    reads: Reads = "own"

    @property
    def alpha_each(self) -> float:
        """Alpha', which each square is multiplied by."""
        return self.alpha / (self.window if self.divide_alpha else 1)

    @property
    def reach(self) -> tuple[int, int]:
        """How many maps before and after its own the window takes in."""
        return self.window // 2, self.window - 1 - self.window // 2


@dataclasses.dataclass(frozen=True)
class MapNorm:
    """Response normalization within a map, over ``window`` x ``window`` places (cuda-convnet's ``rnorm``).

    x / (1 + alpha / window^2 * sum of x^2) ^ beta, the sum over the places that exist.
    """

    name: str
    window: int
    alpha: float
    beta: float = 0.75


@dataclasses.dataclass(frozen=True)
class MaxPool:
    """Max pooling; ``ceil`` lets the last window reach over the edge, as cuda-convnet does."""

    name: str
    window: int = 3
    stride: int = 2
    ceil: bool = False


@dataclasses.dataclass(frozen=True)
class AvgPool:
    """The mean over the places of each window that exist; ``ceil`` as in `MaxPool`."""

    name: str
    window: int = 3
    stride: int = 2
    ceil: bool = False


@dataclasses.dataclass(frozen=True)
class Dropout:
    """Sets each unit to zero with probability ``rate`` while training, section 4.2.

    ``scale_at="test"``, as in 2012: all outputs times (1 - rate) at test; ``"training"``, as in
    today's libraries: the kept outputs divided by (1 - rate) while training.
    """

    name: str
    rate: float = 0.5
    scale_at: Literal["test", "training"] = "test"


Layer: TypeAlias = Conv | Dense | Classifier | ReLU | LRN | MapNorm | MaxPool | AvgPool | Dropout
Layers: TypeAlias = tuple[Layer, ...]

TYPES: dict[str, type[Layer]] = {
    kind.__name__: kind for kind in (Conv, Dense, Classifier, ReLU, LRN, MapNorm, MaxPool, AvgPool, Dropout)
}


_WORDS = {"reads": ("own", "all"), "std": ("fan_in",), "scale_at": ("test", "training")}


@dataclasses.dataclass(frozen=True)
class Traced:
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
        return math.prod(inputs) * (towers if isinstance(self.layer, Classifier) else 1)


def trace(layers: Iterable[Layer], towers: int, image_shape: Shape) -> list[Traced]:
    """Follows the shapes through a net of ``towers`` towers that all read the image.

    Raises:
      UserError: a name that stands twice, a window larger than its input, a layer that reads
        maps where there are only units, a net that does not end in its one classifier.
    """
    traced: list[Traced] = []
    shape = image_shape
    names: set[str] = set()
    split = False  # whether the towers hold different things yet
    for layer in layers:
        if layer.name in names:
            raise UserError(f"net.layers: two layers are named {layer.name}")
        names.add(layer.name)
        _check_fields(layer)
        if traced and isinstance(traced[-1].layer, Classifier):
            raise UserError(f"net.layers: {layer.name} comes after the classifier")
        inputs = shape
        gathers = towers > 1 and split and getattr(layer, "reads", "own") == "all"
        if isinstance(layer, LRN) and gathers and inputs[-1] < max(layer.reach):
            raise UserError(f"net.layers: {layer.name} reaches beyond the next tower's {inputs[-1]} maps")
        read = towers if gathers else 1
        params: dict[str, Shape] = {}
        if isinstance(layer, Conv | LRN | MapNorm | MaxPool | AvgPool) and len(shape) != 3:
            raise UserError(f"net.layers: {layer.name} needs maps, but its input has the shape {shape}")
        match layer:
            case Conv():
                height, width = (
                    _windows(layer, size + sum(layer.padding), layer.kernel, layer.stride, False)
                    for size in inputs[:2]
                )
                shape = (height, width, layer.maps)
                params["kernel"] = (towers, layer.kernel, layer.kernel, inputs[-1] * read, layer.maps)
                params["bias"] = (towers, layer.maps)
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
        traced.append(Traced(layer, inputs, shape, gathers, not split, params))
        split = split or bool(params)
    if not traced or not isinstance(traced[-1].layer, Classifier):
        raise UserError("net.layers: the last layer must be a Classifier")
    return traced


def _check_fields(layer: Layer) -> None:
    """Whether each number can be one of its kind: sizes from 1, fractions below 1, the rest finite."""
    for field, value in dataclasses.asdict(layer).items():
        if field == "classes":
            holds, meaning = isinstance(value, int) and value >= 0, "a whole number, 0: as the data has"
        elif field in ("maps", "units", "kernel", "stride", "window"):
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


def _windows(layer: Conv | MaxPool | AvgPool, size: int, window: int, stride: int, ceil: bool) -> int:
    """How many windows fit along one direction."""
    if size < window:
        raise UserError(f"net.layers: {layer.name} has a window of {window}, but its input has only {size}")
    extra = stride - 1 if ceil else 0
    return (size - window + extra) // stride + 1


def replaced(layers: Sequence[Layer], name: str, **changes: Any) -> Layers:
    """The same layers, but for some fields of the one called ``name``."""
    if name not in {layer.name for layer in layers}:
        raise UserError(f"net.layers: there is no layer {name}")
    return tuple(dataclasses.replace(x, **changes) if x.name == name else x for x in layers)


def with_classes(layers: Sequence[Layer], classes: int) -> Layers:
    """The same layers, a classifier that is to have as many classes as the data with so many."""
    return tuple(
        dataclasses.replace(x, classes=classes) if isinstance(x, Classifier) and not x.classes else x
        for x in layers
    )


def without(layers: Sequence[Layer], *names: str) -> Layers:
    """The same layers, but for those of these names."""
    return tuple(layer for layer in layers if layer.name not in names)


def to_json(layers: Iterable[Layer]) -> list[dict[str, Any]]:
    """``{"type": "Conv", "name": "conv1", ...}`` for each layer."""
    return [{"type": type(layer).__name__, **dataclasses.asdict(layer)} for layer in layers]


def from_json(layers: Iterable[dict[str, Any]]) -> Layers:
    """The inverse of `to_json`."""

    def build(fields: dict[str, Any]) -> Layer:
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in fields.items() if k != "type"
        }
        return TYPES[fields["type"]](**values)

    return tuple(build(fields) for fields in layers)
