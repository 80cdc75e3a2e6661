"""Functions that change a tuple of layers, as recipes do."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from alexnet_jax.errors import UserError, near
from alexnet_jax.layers.layer_types import Classifier, Layer, Layers

__all__ = [
    "after",
    "position",
    "replaced",
    "with_classes",
    "without",
]


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


def replaced(layers: Sequence[Layer], name: str, /, **changes: Any) -> Layers:
    """Return the same layers, with some fields of the layer ``name`` replaced.

    Raises:
      UserError: there is no such layer, or it has no such field.
    """
    fields = [field.name for field in dataclasses.fields(layers[position(layers, name)])]
    for field in changes:
        if field not in fields:
            raise UserError(
                f"net.layers: {name} has no field {field}{near(field, fields)}; it has {', '.join(fields)}"
            )
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
