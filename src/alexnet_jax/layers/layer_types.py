"""The layers of the paper and of its variants, as frozen dataclasses."""

import dataclasses
import math
import typing
from typing import TypeAlias

from alexnet_jax.errors import UserError
from alexnet_jax.layers.base import (
    AboveZero,
    Axes,
    BelowOne,
    Bias,
    Classes,
    Flag,
    Group,
    LayerBase,
    Number,
    Padding,
    Reads,
    ScaleAt,
    Shape,
    Size,
    Std,
    Weights,
)

__all__ = [
    "LRN",
    "TYPES",
    "AvgPool",
    "BatchNorm",
    "Classifier",
    "Conv",
    "Dense",
    "Dropout",
    "Layer",
    "Layers",
    "Local",
    "MapNorm",
    "MaxPool",
    "ReLU",
    "Tanh",
]


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
    decay: BelowOne = 0.9
    epsilon: AboveZero = 1e-5

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

    rate: BelowOne = 0.5
    scale_at: ScaleAt = "test"


Layer: TypeAlias = (
    Conv | Local | Dense | Classifier | ReLU | Tanh | LRN | MapNorm | BatchNorm | MaxPool | AvgPool | Dropout
)
Layers: TypeAlias = tuple[Layer, ...]

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
