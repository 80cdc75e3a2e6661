"""What a layer is: the base class, its weights, and the values that the fields of layers may have."""

import dataclasses
import math
import typing
from typing import Annotated, Literal, TypeAlias

from alexnet_jax import schema
from alexnet_jax.errors import UserError
from alexnet_jax.schema import Rule

__all__ = [
    "AS_BIASES",
    "STATISTICS",
    "AboveZero",
    "Axes",
    "BelowOne",
    "Bias",
    "Classes",
    "Flag",
    "Group",
    "LayerBase",
    "Number",
    "Padding",
    "Reads",
    "ScaleAt",
    "Shape",
    "Size",
    "Std",
    "Weights",
]

Shape: TypeAlias = tuple[int, ...]
Axes: TypeAlias = tuple[Literal["tower", "units"] | None, ...]
"""A name for each dimension that a mesh may split: by towers, or by the units of a dense layer."""


def _not_negative(value: float) -> bool:
    return math.isfinite(value) and value >= 0


Size: TypeAlias = Annotated[int, Rule("a positive whole number", lambda x: isinstance(x, int) and x > 0)]
Number: TypeAlias = Annotated[float, Rule("finite and not negative", _not_negative)]
AboveZero: TypeAlias = Annotated[float, Rule("finite and above 0", lambda x: math.isfinite(x) and x > 0)]
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
BelowOne: TypeAlias = Annotated[float, Rule("at least 0 and below 1", lambda x: 0 <= x < 1)]
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
        """Return how many elements of each tower's input the other towers read.

        By default all, if the layer has the field ``reads`` and it is ``"all"``; otherwise none.
        """
        return math.prod(inputs) if getattr(self, "reads", "own") == "all" else 0

    def weights(self, read: Shape, towers: int) -> Weights | None:
        """Return the weights, if the layer has any.

        Args:
          read: shape of what each tower reads: its own input, or the concatenated inputs of all towers.
          towers: number of towers.
        """
        return None
