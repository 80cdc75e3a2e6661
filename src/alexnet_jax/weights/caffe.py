"""The weights of Caffe: BVLC AlexNet and CaffeNet as ``.caffemodel``, and mean images as ``.binaryproto``.

Both networks have the same arrays. The order of their layers, which the file holds, shows which one it is:
CaffeNet normalizes after pooling. Caffe reads images as blue, green, red.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from alexnet_jax import files
from alexnet_jax.errors import UserError
from alexnet_jax.weights.foreign import Foreign

LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
"""The layers with weights, whose names are the same here and there."""

MEAN_BGR = (104.0, 117.0, 123.0)
"""The mean of each channel of ILSVRC-2012, which Caffe's recipes take in place of the mean image."""

_SIZE = 256
_LARGEST = 2**31 - 1  # bytes of a message
_POOLING, _LRN = (17, b"Pooling"), (15, b"LRN")  # the types of layers, in the old and in the new format

# The part of caffe.proto that is read: (name, number, type) of each field; a message type repeats. Packed
# floats are declared as bytes, which are encoded in the same way, and take no memory for each element.
_MESSAGES = {
    "BlobShape": [("dim", 1, "repeated int64")],
    "BlobProto": [
        *((name, i, "int64") for i, name in enumerate(("num", "channels", "height", "width"), start=1)),
        ("data", 5, "bytes"),
        ("shape", 7, "BlobShape"),
        ("double_data", 8, "bytes"),
    ],
    "V1LayerParameter": [("name", 4, "bytes"), ("type", 5, "int64"), ("blobs", 6, "repeated BlobProto")],
    "LayerParameter": [("name", 1, "bytes"), ("type", 2, "bytes"), ("blobs", 7, "repeated BlobProto")],
    "NetParameter": [("layers", 2, "repeated V1LayerParameter"), ("layer", 100, "repeated LayerParameter")],
}


def read(file: str, mean: str | None) -> Foreign:
    """Read a network, and the mean image of its training set.

    Args:
      file: path of a ``.caffemodel`` file, with layers of the old format (``layers``) or the new (``layer``).
      mean: path of the ``.binaryproto`` file; None for the mean of each channel, `MEAN_BGR`.

    Raises:
      UserError: a file can't be read, is damaged, or holds something else.
    """
    mean_image, notes = _mean_image(mean)
    net: Any = _message("NetParameter", file)
    layers = [*net.layers, *net.layer]
    arrays = {}
    for layer in layers:
        name = layer.name.decode(errors="replace")
        for kind, blob in zip(("weight", "bias", "third", "fourth", "fifth"), layer.blobs, strict=False):
            arrays[f"{name}.{kind}"] = _array(blob, file, f"{name}.{kind}")
    if not arrays:
        raise UserError(
            f"{file} has no layers with weights: take the .caffemodel; upgrade one of 2013 with Caffe's"
            " upgrade_net_proto_binary"
        )
    last = LAYERS[-1]
    *_, classifier = (layer.name.decode(errors="replace") for layer in layers if layer.blobs)
    names = {
        layer: classifier if layer == last and f"{last}.weight" not in arrays else layer for layer in LAYERS
    }
    is_caffenet = _is_caffenet([layer.type for layer in layers], file)
    return Foreign(
        file,
        "BVLC's CaffeNet" if is_caffenet else "BVLC's AlexNet",
        "alexnet:caffenet" if is_caffenet else "alexnet:caffe",
        arrays,
        {layer: (f"{name}.weight", f"{name}.bias") for layer, name in names.items()},
        lambda kernel: kernel[:, ::-1],
        mean_image,
        notes,
    )


def _is_caffenet(types: Sequence[int | bytes], file: str) -> bool:
    """Return whether pooling comes before normalization."""
    first = next((kind for kind in types if kind in _POOLING + _LRN), None)
    if first is None or not any(kind in _LRN for kind in types):
        raise UserError(f"{file} is neither BVLC's AlexNet nor CaffeNet: it has no LRN layers")
    return first in _POOLING


def _mean_image(file: str | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the mean image, RGB, and lines for the user."""
    shape = (_SIZE, _SIZE, 3)
    if file is None:
        note = "without --mean, ImageNet's mean of each channel is subtracted, not its mean image"
        return np.broadcast_to(MEAN_BGR[::-1], shape), (note,)
    found = _array(_message("BlobProto", file), file, "the mean image")
    if found.shape != (3, *shape[:2]):
        raise UserError(
            f"{file} holds an array of shape {found.shape}, but the mean image must be (3, {_SIZE}, {_SIZE})"
        )
    if not np.isfinite(found).all():
        raise UserError(f"{file}: the mean image has an element that is not finite: take an intact copy")
    return found[::-1].transpose(1, 2, 0), ()


def _array(blob: Any, file: str, name: str) -> np.ndarray:
    """Return the array of a BlobProto, without copying it. Leading dimensions of 1 are left out."""
    old = [blob.num, blob.channels, blob.height, blob.width]
    dims = list(blob.shape.dim) if blob.HasField("shape") else old
    data, dtype = (blob.data, "<f4") if blob.data or not blob.double_data else (blob.double_data, "<f8")
    while len(dims) > 1 and dims[0] == 1:
        dims.pop(0)
    if min(dims, default=0) < 0 or math.prod(dims) * np.dtype(dtype).itemsize != len(data):
        problem = f"{name} has {len(data):,} bytes for the shape {tuple(dims)}"
        raise UserError(f"{file} is damaged ({problem}): copy it again")
    return np.frombuffer(data, dtype).reshape(dims)


def _message(kind: str, file: str) -> Message:
    """Read a file that holds one message.

    Raises:
      UserError: it can't be read, or holds something else.
    """
    try:
        return _classes()[kind].FromString(files.read(file, _LARGEST))
    except (DecodeError, ValueError) as error:
        raise UserError(f"{file} is damaged or no file of Caffe ({error}): copy it again") from error


@functools.cache
def _classes() -> dict[str, type[Message]]:
    """Return the classes of the messages."""
    described = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
    field = descriptor_pb2.FieldDescriptorProto
    scalars = {"int64": field.TYPE_INT64, "bytes": field.TYPE_BYTES}
    for message, fields in _MESSAGES.items():
        added = described.message_type.add(name=message)
        for name, number, kind in fields:
            repeated, _, kind = kind.rpartition(" ")
            each = added.field.add(name=name, number=number)
            each.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
            if kind in scalars:
                each.type = scalars[kind]
            else:
                each.type, each.type_name = field.TYPE_MESSAGE, f".caffe.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(described)
    return {
        message: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"caffe.{message}"))
        for message in _MESSAGES
    }
