"""The network as data: frozen dataclasses that a config puts in a tuple.

Nothing here computes (``model`` does) and nothing imports JAX, so that a config is read in no time;
``trace`` says which shapes follow. ``maps`` and ``units`` are counted per tower, as in figure 2 of
the paper; a layer reads its ``own`` tower or, where the towers talk, ``all`` of them.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeAlias, get_args

from alexnet_jax.errors import UserError

Reads: TypeAlias = Literal["own", "all"]
Std: TypeAlias = float | Literal["fan_in"]


@dataclasses.dataclass(frozen=True)
class Conv:
    """A convolution. ``padding`` is zeros (before, after) in both directions.

    ``std`` is the deviation of the initial Gaussian weights and ``bias`` the initial
    bias; ``std="fan_in"`` draws both uniformly from +-1/sqrt(fan-in), PyTorch's default.
    """

    name: str
    features: int
    kernel: int
    stride: int = 1
    padding: tuple[int, int] = (0, 0)
    reads: Reads = "own"
    std: Std = 0.01
    bias: float = 0.0


@dataclasses.dataclass(frozen=True)
class Local:
    """A convolution whose weights are not shared: each place has a kernel and biases of its own.

    Its stride is 1. Locally connected layers are cuda-convnet's, of the nets that section 3.3 speaks of.
    """

    name: str
    features: int
    kernel: int
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
class Tanh:
    """tanh(x), what neurons were before: figure 1."""

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


Layer: TypeAlias = (
    Conv | Local | Dense | Classifier | ReLU | Tanh | LRN | MapNorm | MaxPool | AvgPool | Dropout
)
Layers: TypeAlias = tuple[Layer, ...]

TYPES: dict[str, type[Layer]] = {kind.__name__: kind for kind in get_args(Layer)}


def replaced(layers: Sequence[Layer], name: str, **changes: Any) -> Layers:
    """The same layers, but for some fields of the one called ``name``."""
    if name not in {layer.name for layer in layers}:
        raise UserError(f"net.layers: there is no layer {name}")
    return tuple(dataclasses.replace(x, **changes) if x.name == name else x for x in layers)


def after(layers: Sequence[Layer], name: str, *new: Layer) -> Layers:
    """The same layers, with new ones behind the one called ``name``."""
    place = [layer.name for layer in layers].index(name) + 1
    return (*layers[:place], *new, *layers[place:])


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
    """Return the layers that `to_json` wrote.

    Raises:
      UserError: another version of alexnet_jax wrote them.
    """
    return tuple(_from_json(**fields) for fields in layers)


def _from_json(type: str, name: str, **fields: Any) -> Layer:  # noqa: A002
    if "maps" in fields:
        raise UserError(
            f"net.layers: {name}.maps is named features now: a workdir of this older format"
            " cannot be read; train again in a new --workdir"
        )
    kind = TYPES.get(type)
    unknown = [] if kind is None else [key for key in fields if key not in kind.__dataclass_fields__]
    if kind is None or unknown:
        what = f"type {type}" if kind is None else f"field {unknown[0]}"
        raise UserError(f"net.layers: {name} has the unknown {what}: it was written by another version")
    values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in fields.items()}
    return kind(name, **values)
