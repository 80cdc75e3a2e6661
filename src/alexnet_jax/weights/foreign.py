"""The weights of another framework, and their conversion to the parameters of the same network here."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.errors import UserError
from alexnet_jax.layers import Classifier, Conv, Dense, Shape
from alexnet_jax.net.shapes import LayerShapes, Params, config_shapes
from alexnet_jax.text import first_of


@dataclasses.dataclass(frozen=True)
class Foreign:
    """Weights of another framework.

    Attributes:
      file: path of their file, for messages.
      network: the network that they must belong to, for messages.
      recipe: the recipe of the same network.
      arrays: the arrays by their names in the file. Convolutions are (out, in / groups, height, width),
        matrices (out, in), as in PyTorch and Caffe. The first matrix reads channels, height, width.
      names: the layers of the recipe that have weights, and the names of their kernel and bias in the file.
      for_rgb: function that changes the first kernel so that it reads RGB in grey levels.
      mean_image_HxWx3: what is subtracted from the pixels, RGB in grey levels.
      notes: lines for the user.
    """

    file: str
    network: str
    recipe: str
    arrays: Mapping[str, np.ndarray]
    names: Mapping[str, tuple[str, str]]
    for_rgb: Callable[[np.ndarray], np.ndarray]
    mean_image_HxWx3: np.ndarray
    notes: tuple[str, ...] = ()

    def classes(self) -> int:
        """Return the number of outputs.

        Raises:
          UserError: the last layer is missing.
        """
        *_, (_, bias) = self.names.values()
        return int(self._array(bias).size)

    def params(self, config: ConfigDict) -> Params:
        """Return the parameters of the network, as NumPy arrays.

        Args:
          config: the config of `recipe`, with the same number of classes.

        Raises:
          UserError: an array is missing, has another shape or type, is not finite, or there are others.
        """
        layers = [shapes for shapes in config_shapes(config) if shapes.weights is not None]
        for shapes in layers:
            for name, shape in zip(self.names[shapes.layer.name], _foreign_shapes(shapes), strict=True):
                self._check(name, shape)
        known = {name for pair in self.names.values() for name in pair}
        if others := [name for name in self.arrays if name not in known]:
            raise UserError(f"{self.file} does not fit {self.network}: it also has {first_of(others)}")
        params: Params = {}
        for shapes in layers:
            kernel, bias = (self.arrays[name] for name in self.names[shapes.layer.name])
            if not params:
                kernel = self.for_rgb(kernel) * config.data.pixel_std
            found = {"kernel": _kernel(shapes, kernel), "bias": bias.reshape(shapes.params["bias"])}
            params[shapes.layer.name] = {
                kind: np.ascontiguousarray(x, np.float32) for kind, x in found.items()
            }
        return params

    def _array(self, name: str) -> np.ndarray:
        if name not in self.arrays:
            there = first_of(list(self.arrays)) or "nothing"
            raise UserError(f"{self.file} does not fit {self.network}: it has no {name}, but {there}")
        return self.arrays[name]

    def _check(self, name: str, shape: Shape) -> None:
        array = self._array(name)
        if array.shape != shape:
            shapes = f"{array.shape}, not {shape}"
            raise UserError(f"{self.file} does not fit {self.network}: its {name} has the shape {shapes}")
        if not np.issubdtype(array.dtype, np.floating):
            raise UserError(f"{self.file}: {name} is {array.dtype}, but must be floating-point numbers")
        if not np.isfinite(array).all():
            raise UserError(f"{self.file}: {name} has an element that is not finite: take an intact copy")


def _foreign_shapes(shapes: LayerShapes) -> tuple[Shape, Shape]:
    """Return the shapes of a layer's kernel and bias in other frameworks."""
    towers, *_, inputs, outputs = shapes.params["kernel"]
    match shapes.layer:
        case Conv(kernel=window):
            return (towers * outputs, inputs, window, window), (towers * outputs,)
        case Dense():
            return (towers * outputs, inputs), (towers * outputs,)
        case Classifier():
            return (outputs, towers * inputs), (outputs,)
        case _:
            raise _unknown(shapes)


def _kernel(shapes: LayerShapes, weight: np.ndarray) -> np.ndarray:
    """Convert a kernel to the layout here, with a leading tower axis: the inverse of `torch_layout`."""
    towers, *_, outputs = shapes.params["kernel"]
    match shapes.layer:
        case Conv():
            # (tower and out, in, height, width) -> (tower, height, width, in, out)
            return weight.reshape(towers, outputs, *weight.shape[1:]).transpose(0, 3, 4, 2, 1)
        case Dense():
            return np.stack([_channel_last(part, shapes.inputs) for part in np.split(weight, towers)])
        case Classifier():
            return np.stack([_channel_last(part, shapes.inputs) for part in np.split(weight, towers, axis=1)])
        case _:
            raise _unknown(shapes)


def _channel_last(weight_OxI: np.ndarray, inputs: Shape) -> np.ndarray:
    """Return (in, out), with images flattened as height, width, channels of all towers that are read."""
    if len(inputs) == 1:
        return weight_OxI.T
    height, width, _ = inputs
    outputs = len(weight_OxI)
    return weight_OxI.reshape(outputs, -1, height, width).transpose(2, 3, 1, 0).reshape(-1, outputs)


def _unknown(shapes: LayerShapes) -> TypeError:
    return TypeError(f"no other framework has weights for {shapes.layer}")


def extra_missing(what: str, extra: str) -> UserError:
    """Return the error for a package that is not installed.

    Args:
      what: what needs it.
      extra: the extra of this package that installs it.
    """
    return UserError(f"{what} needs the extra {extra}: pip install -e '.[{extra}]'")


def as_float32(arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return floating-point arrays of any precision as float32, and others as they are."""
    found = {name: np.asarray(array) for name, array in arrays.items()}
    # bfloat16 is of no kind that NumPy knows.
    return {
        name: x.astype(np.float32, copy=False) if x.dtype.kind == "f" or x.dtype.name == "bfloat16" else x
        for name, x in found.items()
    }
