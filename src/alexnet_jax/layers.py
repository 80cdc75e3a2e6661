"""The network as data: frozen dataclasses that a config puts in a tuple.

Each layer describes itself: the shape of its output, its weights and how a mesh may split them, what it reads
of other towers, and the values that its fields may have. `net.shapes.layer_shapes` asks the layers of a
network in turn; `net.model` runs them. Nothing here imports JAX, so that a config loads quickly.

``features``, ``units`` and shapes are per tower, as in figure 2 of the paper. A shape is that of one example:
``(height, width, channels)`` or ``(units,)``. A layer reads its ``own`` tower or ``all`` of them.
"""

import dataclasses
import math
import typing
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, TypeAlias

from alexnet_jax import schema
from alexnet_jax.errors import UserError, near
from alexnet_jax.schema import Rule

Shape: TypeAlias = tuple[int, ...]
Axes: TypeAlias = tuple[Literal["tower", "units"] | None, ...]
"""A name for each dimension that a mesh may split: by towers, or by the units of a dense layer."""


def _not_negative(value: float) -> bool:
    return math.isfinite(value) and value >= 0


Size: TypeAlias = Annotated[int, Rule("a positive whole number", lambda x: isinstance(x, int) and x > 0)]
Number: TypeAlias = Annotated[float, Rule("finite and not negative", _not_negative)]
Positive: TypeAlias = Annotated[float, Rule("finite and above 0", lambda x: math.isfinite(x) and x > 0)]
Group: TypeAlias = Annotated[
    int,
    Rule(
        "0 (the whole batch) or a whole number from 2 on",
        lambda x: isinstance(x, int) and (x == 0 or x >= 2),
    ),
]
Flag: TypeAlias = Annotated[bool, Rule("True or False", lambda x: isinstance(x, bool))]
Classes: TypeAlias = Annotated[
    int, Rule("a whole number (0: as many as the data has)", lambda x: isinstance(x, int) and x >= 0)
]
Padding: TypeAlias = Annotated[
    tuple[int, int],
    Rule(
        "a pair of whole numbers (before, after), neither negative",
        lambda x: len(x) == 2 and all(isinstance(n, int) and n >= 0 for n in x),
    ),
]
Fraction: TypeAlias = Annotated[float, Rule("at least 0 and below 1", lambda x: 0 <= x < 1)]
Std: TypeAlias = Annotated[
    float | Literal["fan_in"],
    Rule("finite and not negative, or fan_in", lambda x: x == "fan_in" or _not_negative(x)),
]
Bias: TypeAlias = Annotated[float, Rule("finite", math.isfinite)]
Reads: TypeAlias = Annotated[Literal["own", "all"], Rule("own or all", lambda x: x in ("own", "all"))]
ScaleAt: TypeAlias = Annotated[
    Literal["test", "training"], Rule("test or training", lambda x: x in ("test", "training"))
]


AS_BIASES = frozenset(["bias", "scale"])
"""Names of arrays that use the optimizer's settings for biases, not those for kernels. See `Weights`."""

STATISTICS = frozenset(["mean", "variance"])
"""Names of arrays that hold running statistics. See `Weights`."""


@dataclasses.dataclass(frozen=True)
class Weights:
    """The weights of a layer, in all towers.

    The arrays may have any names. Those named ``bias`` and ``scale`` use the optimizer's settings for biases,
    and start at the value ``bias`` and at 1. Those named ``mean`` and ``variance`` are running statistics,
    which the optimizer does not change; they start at 0 and 1. All others are kernels: they start with random
    values and use the settings for kernels.

    Attributes:
      shapes: shapes of the arrays by name, with their leading tower axis. Tables show the first one.
      axes: how a mesh may split each array; dimensions without a name stay whole.
      fan_in: number of inputs that each output is computed from.
      multiplications: number of multiplications for one example, forward.
      std: standard deviation of the initial Gaussian arrays. ``"fan_in"`` draws all arrays, the bias too,
        uniformly from +-1/sqrt(fan_in) instead.
      mean: mean of the initial Gaussian arrays.
      bias: the initial bias.
      reads_all_units: whether each output unit needs all units of the input, as in a fully-connected layer.
        If a mesh splits the units, they are gathered first. By default a device needs only its own units.
    """

    shapes: dict[str, Shape]
    axes: dict[str, Axes]
    fan_in: int
    multiplications: int
    std: float | Literal["fan_in"] = 0.0
    mean: float = 0.0
    bias: float = 0.0
    reads_all_units: bool = False


@dataclasses.dataclass(frozen=True)
class LayerBase:
    """The base class of layers. By default they have no weights and keep the shape of their input.

    Attributes:
      name: name of the layer, unique in the network. Its weights are saved under this name.
    """

    name: str

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, schema.plain(getattr(self, field.name)))

    def check(self) -> None:
        """Check the value of each field by the `Rule` of its type.

        Raises:
          UserError: a field has a value that it may not have.
          TypeError: the type of a field has no rule.
        """
        for field in dataclasses.fields(self):
            if field.name == "name":
                continue
            *_, rule = typing.get_args(field.type) or (None,)  # Annotated[type, rule]
            if not isinstance(rule, Rule):
                raise TypeError(
                    f"{type(self).__name__}.{field.name} has the type {field.type}, which has no Rule: use a"
                    " type such as layers.Number or Annotated[TYPE, Rule(...)]"
                )
            value = getattr(self, field.name)
            try:
                holds = rule.holds(value)
            except TypeError:
                holds = False
            if not holds:
                raise UserError(
                    f"net.layers: {self.name}.{field.name} is {value}, but must be {rule.meaning}"
                )

    def output_shape(self, inputs: Shape) -> Shape:
        """Return the shape of a tower's output, given that of its input.

        Raises:
          UserError: the layer does not fit its input.
        """
        return inputs

    def gathered(self, inputs: Shape) -> int:
        """Return how many elements of each tower's input the other towers read."""
        return 0

    def weights(self, read: Shape, towers: int) -> Weights | None:
        """Return the weights, if the layer has any.

        Args:
          read: shape of what each tower reads: its own input, or the concatenated inputs of all towers.
          towers: number of towers.
        """
        return None


@dataclasses.dataclass(frozen=True)
class Conv(LayerBase):
    """A convolution.

    Attributes:
      features: number of output channels.
      kernel: height and width of the windows.
      stride: distance between neighbouring windows.
      padding: number of zeros (before, after), along the rows and along the columns.
      reads: towers whose channels the layer reads: its ``"own"``, or ``"all"``.
      std: standard deviation of the initial Gaussian kernel. ``"fan_in"`` draws kernel and bias uniformly
        from +-1/sqrt(fan-in), PyTorch's default.
      bias: the initial bias.
    """

    features: Size
    kernel: Size
    stride: Size = 1
    padding: Padding = (0, 0)
    reads: Reads = "own"
    std: Std = 0.01
    bias: Bias = 0.0

    def output_shape(self, inputs: Shape) -> Shape:
        """Return (height, width, features)."""
        return (*_windows(self, inputs, self.kernel, self.stride, self.padding), self.features)

    def gathered(self, inputs: Shape) -> int:
        """Return the number of elements of the input if the layer reads all towers, otherwise 0."""
        return math.prod(inputs) if self.reads == "all" else 0

    def weights(self, read: Shape, towers: int) -> Weights:
        """Return a kernel and a bias for each tower."""
        window = (self.kernel, self.kernel, read[-1])
        return Weights(
            shapes={"kernel": (towers, *window, self.features), "bias": (towers, self.features)},
            axes={"kernel": ("tower",), "bias": ("tower",)},
            fan_in=math.prod(window),
            multiplications=towers * math.prod(window) * math.prod(self.output_shape(read)),
            std=self.std,
            bias=self.bias,
        )


@dataclasses.dataclass(frozen=True)
class Local(LayerBase):
    """A locally connected layer: a convolution with separate kernels and biases at each position.

    Its stride is 1. The networks of section 3.3, of cuda-convnet, have such layers. For the attributes see
    `Conv`.
    """

    features: Size
    kernel: Size
    padding: Padding = (0, 0)
    reads: Reads = "own"
    std: Std = 0.01
    bias: Bias = 0.0

    def output_shape(self, inputs: Shape) -> Shape:
        """Return (height, width, features)."""
        return (*_windows(self, inputs, self.kernel, 1, self.padding), self.features)

    def gathered(self, inputs: Shape) -> int:
        """Return the number of elements of the input if the layer reads all towers, otherwise 0."""
        return math.prod(inputs) if self.reads == "all" else 0

    def weights(self, read: Shape, towers: int) -> Weights:
        """Return a kernel and a bias for each tower and position; windows are flattened."""
        height, width, _ = outputs = self.output_shape(read)
        window = self.kernel**2 * read[-1]
        return Weights(
            shapes={"kernel": (towers, height, width, window, self.features), "bias": (towers, *outputs)},
            axes={"kernel": ("tower",), "bias": ("tower",)},
            fan_in=window,
            multiplications=towers * window * math.prod(outputs),
            std=self.std,
            bias=self.bias,
        )


@dataclasses.dataclass(frozen=True)
class Dense(LayerBase):
    """A fully-connected layer. Images are flattened in the order height, width, channels.

    With ``one_weird_trick``, the devices that split the batch also split the units.

    Attributes:
      units: number of outputs.
      reads: as in `Conv`.
      std: as in `Conv`.
      bias: as in `Conv`.
    """

    units: Size
    reads: Reads = "own"
    std: Std = 0.01
    bias: Bias = 0.0

    def output_shape(self, inputs: Shape) -> Shape:
        """Return (units,)."""
        return (self.units,)

    def gathered(self, inputs: Shape) -> int:
        """Return the number of elements of the input if the layer reads all towers, otherwise 0."""
        return math.prod(inputs) if self.reads == "all" else 0

    def weights(self, read: Shape, towers: int) -> Weights:
        """Return a matrix and a bias for each tower."""
        rows = math.prod(read)
        return Weights(
            shapes={"kernel": (towers, rows, self.units), "bias": (towers, self.units)},
            axes={"kernel": ("tower", None, "units"), "bias": ("tower", "units")},
            fan_in=rows,
            multiplications=towers * rows * self.units,
            std=self.std,
            bias=self.bias,
            reads_all_units=True,
        )


@dataclasses.dataclass(frozen=True)
class Classifier(LayerBase):
    """The last layer. Each tower multiplies its units by its kernel. The logits are the sum over towers.

    Attributes:
      classes: number of logits; 0 means as many as the data set has (see `with_classes`).
      std: as in `Conv`.
      bias: as in `Conv`.
    """

    classes: Classes
    std: Std = 0.01
    bias: Bias = 0.0

    def output_shape(self, inputs: Shape) -> Shape:
        """Return (classes,)."""
        return (self.classes,)

    def weights(self, read: Shape, towers: int) -> Weights:
        """Return a matrix for each tower, and one bias. The bias belongs to no tower: its axis has size 1."""
        rows = math.prod(read)
        return Weights(
            shapes={"kernel": (towers, rows, self.classes), "bias": (1, self.classes)},
            axes={"kernel": ("tower", "units" if len(read) == 1 else None), "bias": ()},
            fan_in=towers * rows,
            multiplications=towers * rows * self.classes,
            std=self.std,
            bias=self.bias,
        )


@dataclasses.dataclass(frozen=True)
class ReLU(LayerBase):
    """The activation max(0, x) of section 3.1."""


@dataclasses.dataclass(frozen=True)
class Tanh(LayerBase):
    """The activation tanh(x), which was usual before ReLU. See figure 1."""


@dataclasses.dataclass(frozen=True)
class LRN(LayerBase):
    """Local response normalization over neighbouring channels, section 3.3.

    x / (k + alpha' * sum over ``window`` channels of x^2) ^ beta

    Attributes:
      window: number of channels in a sum.
      alpha: factor of the sum.
      beta: the exponent.
      k: the constant.
      divide_alpha: whether alpha' is ``alpha / window``, as in the authors' code, Caffe and PyTorch, or
        ``alpha``, as in the paper.
      reads: towers that a window may reach. ``"own"``: the window stays in its tower, as in the paper.
        ``"all"``: it continues into the channels of the next tower, as in Caffe.
    """

    window: Size = 5
    alpha: Number = 1e-4
    beta: Number = 0.75
    k: Number = 2.0
    divide_alpha: Flag = False
    reads: Reads = "own"

    @property
    def alpha_each(self) -> float:
        """The factor of each square, alpha'."""
        return self.alpha / (self.window if self.divide_alpha else 1)

    @property
    def reach(self) -> tuple[int, int]:
        """Number of channels in the window before and after its centre."""
        return self.window // 2, self.window - 1 - self.window // 2

    def output_shape(self, inputs: Shape) -> Shape:
        """Return the shape of the input, which must have channels."""
        _check_feature_maps(self, inputs)
        return inputs

    def gathered(self, inputs: Shape) -> int:
        """Return the number of elements in the channels that windows of other towers reach."""
        if self.reads == "own":
            return 0
        if inputs[-1] < max(self.reach):
            raise UserError(
                f"net.layers: {self.name} reaches beyond the next tower's {inputs[-1]} channels: use a window"
                f" smaller than {self.window}"
            )
        return math.prod(inputs[:-1]) * sum(self.reach)


@dataclasses.dataclass(frozen=True)
class MapNorm(LayerBase):
    """Response normalization over ``window`` x ``window`` positions of a channel: cuda-convnet's ``rnorm``.

    x / (1 + alpha / window^2 * sum of x^2) ^ beta. The sum is over the positions inside the image.
    """

    window: Size
    alpha: Number
    beta: Number = 0.75

    def output_shape(self, inputs: Shape) -> Shape:
        """Return the shape of the input, which must have channels."""
        _check_feature_maps(self, inputs)
        return inputs


@dataclasses.dataclass(frozen=True)
class BatchNorm(LayerBase):
    """Batch normalization of each channel or unit (Ioffe and Szegedy 2015, arXiv 1502.03167).

    (x - mean) / sqrt(variance + epsilon) * scale + bias. In training the mean and the variance are those of
    the examples of a group, and of all positions. At test they are the running ones.

    Attributes:
      group: number of consecutive examples of the batch with common statistics; 0 for the whole batch. The
        groups do not depend on the mesh.
      decay: in each update, running = decay * running + (1 - decay) * mean over the groups.
      epsilon: constant that is added to the variance.
    """

    group: Group = 0
    decay: Fraction = 0.9
    epsilon: Positive = 1e-5

    def group_size(self, batch_size: int) -> int:
        """Return the number of examples in a group."""
        return self.group or batch_size

    def weights(self, read: Shape, towers: int) -> Weights:
        """Return the scale, the bias and the running statistics of each channel or unit of each tower."""
        kinds = ("scale", "bias", "mean", "variance")
        axes: Axes = ("tower", "units") if len(read) == 1 else ("tower",)
        return Weights(
            shapes=dict.fromkeys(kinds, (towers, read[-1])),
            axes=dict.fromkeys(kinds, axes),
            fan_in=1,
            multiplications=0,
        )


@dataclasses.dataclass(frozen=True)
class MaxPool(LayerBase):
    """Max pooling, section 3.4.

    Attributes:
      window: height and width of the windows.
      stride: distance between neighbouring windows.
      ceil: whether the last windows may reach over the edge, as in cuda-convnet.
    """

    window: Size = 3
    stride: Size = 2
    ceil: Flag = False

    def output_shape(self, inputs: Shape) -> Shape:
        """Return (height, width, channels)."""
        return (*_windows(self, inputs, self.window, self.stride, ceil=self.ceil), inputs[-1])


@dataclasses.dataclass(frozen=True)
class AvgPool(LayerBase):
    """Average pooling over the part of each window inside the image. For the attributes see `MaxPool`."""

    window: Size = 3
    stride: Size = 2
    ceil: Flag = False

    def output_shape(self, inputs: Shape) -> Shape:
        """Return (height, width, channels)."""
        return (*_windows(self, inputs, self.window, self.stride, ceil=self.ceil), inputs[-1])


@dataclasses.dataclass(frozen=True)
class Dropout(LayerBase):
    """Dropout, section 4.2: while training, each unit is set to zero with a probability.

    Attributes:
      rate: the probability.
      scale_at: phase in which the outputs are scaled. ``"test"``, as in 2012: all outputs are multiplied by
        (1 - rate) at test. ``"training"``, as in today's libraries: the kept outputs are divided by
        (1 - rate) while training.
    """

    rate: Fraction = 0.5
    scale_at: ScaleAt = "test"


Layer: TypeAlias = (
    Conv | Local | Dense | Classifier | ReLU | Tanh | LRN | MapNorm | BatchNorm | MaxPool | AvgPool | Dropout
)
Layers: TypeAlias = tuple[Layer, ...]

_MOST = 1000  # layers of a network that is read from a file

TYPES: dict[str, type[Layer]] = {kind.__name__: kind for kind in typing.get_args(Layer)}


def _check_feature_maps(layer: LayerBase, inputs: Shape) -> None:
    if len(inputs) != 3:
        raise UserError(
            f"net.layers: {layer.name} needs feature maps, but its input has the shape {inputs}: put it"
            " before the dense layers"
        )


def _windows(
    layer: LayerBase,
    inputs: Shape,
    window: int,
    stride: int,
    padding: tuple[int, int] = (0, 0),
    ceil: bool = False,
) -> tuple[int, int]:
    """Return how many windows fit into the rows and columns of an image."""
    _check_feature_maps(layer, inputs)
    height, width = (size + sum(padding) for size in inputs[:2])
    if min(height, width) < window:
        raise UserError(
            f"net.layers: {layer.name} has a window of {window}, but its padded input has only {height} rows"
            f" and {width} columns: use a smaller window"
        )
    extra = stride - 1 if ceil else 0
    return (height - window + extra) // stride + 1, (width - window + extra) // stride + 1


def position(layers: Sequence[Layer], name: str) -> int:
    """Return the position of the layer ``name``.

    Raises:
      UserError: there is no such layer. The message lists those that exist.
    """
    names = [layer.name for layer in layers]
    if name not in names:
        raise UserError(
            f"net.layers: there is no layer {name}{near(name, names)}; there are {', '.join(names)}"
        )
    return names.index(name)


def replaced(layers: Sequence[Layer], name: str, **changes: Any) -> Layers:
    """Return the same layers, with some fields of the layer ``name`` replaced."""
    position(layers, name)  # raises an error if there is none
    return tuple(dataclasses.replace(x, **changes) if x.name == name else x for x in layers)


def after(layers: Sequence[Layer], name: str, *new: Layer) -> Layers:
    """Return the same layers, with new ones after the layer ``name``."""
    end = position(layers, name) + 1
    return (*layers[:end], *new, *layers[end:])


def with_classes(layers: Sequence[Layer], classes: int) -> Layers:
    """Return the same layers; a classifier with ``classes=0`` gets this number of classes."""
    return tuple(
        dataclasses.replace(x, classes=classes) if isinstance(x, Classifier) and not x.classes else x
        for x in layers
    )


def without(layers: Sequence[Layer], *names: str) -> Layers:
    """Return the same layers, without those that have one of the names."""
    return tuple(layer for layer in layers if layer.name not in names)


def to_json(layers: Iterable[Layer]) -> list[dict[str, Any]]:
    """Return ``{"type": "Conv", "name": "conv1", ...}`` for each layer."""
    return [{"type": type(layer).__name__, **dataclasses.asdict(layer)} for layer in layers]


def from_json(layers: Any) -> Layers:
    """Return the layers that `to_json` wrote.

    Raises:
      UserError: another version of alexnet_jax wrote them.
      ValueError: they are damaged.
    """
    found = schema.check(layers, list[dict[str, Any]], "net.layers")
    if len(found) > _MOST:
        raise ValueError(f"net.layers has {len(found):,} layers, more than {_MOST:,}")
    return tuple(map(_from_json, found))


def _from_json(fields: dict[str, Any]) -> Layer:
    where = f"net.layers: {fields.get('name')}"
    if "maps" in fields:
        raise UserError(f"{where}.maps is called features now")
    name = schema.check(fields.pop("type", None), str, f"{where}.type")
    kind = TYPES.get(name)
    unknown = [] if kind is None else [key for key in fields if key not in kind.__dataclass_fields__]
    if kind is None or unknown:
        what = f"type {name}" if kind is None else f"field {unknown[0]}"
        raise UserError(f"{where} has the unknown {what}")
    return schema.check(fields, kind, where)
