"""Layers as JSON, as ``config.json`` has them."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from alexnet_jax import schema
from alexnet_jax.errors import UserError
from alexnet_jax.layers.layer_types import TYPES, Layer, Layers

_MOST = 1000  # layers of a network that is read from a file


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
