"""Export as ONNX."""

import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.errors import UserError
from alexnet_jax.layers import LRN
from alexnet_jax.net.torch_layout import folded
from alexnet_jax.weights.network import Network

ENDINGS: tuple[str, ...] = (".onnx",)
PACKAGES: tuple[str, ...] = ("onnx", "onnxruntime")


def check(config: ConfigDict) -> None:
    """Check that ONNX can express a network.

    Raises:
      UserError: it lacks a layer, or the factor of a dropout can't be folded into weights.
    """
    for shapes, _ in folded(config):
        if isinstance(shapes.layer, LRN) and shapes.layer.window % 2 == 0:
            raise UserError(f"{shapes.layer.name} has a window of even size, which onnxruntime does not have")


def contents(network: Network, names: tuple[str, ...]) -> tuple[bytes, ...]:
    """Return the content of the file, which the package onnx has checked."""
    from onnx import checker

    from alexnet_jax.weights.onnx_graph import model  # imports onnx

    made = model(network)
    checker.check_model(made, full_check=True)
    return (made.SerializeToString(),)


def logits(files: tuple[bytes, ...], images_BxHxWx3: np.ndarray) -> np.ndarray:
    """Compute logits in onnxruntime, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # only errors
    session = onnxruntime.InferenceSession(files[0], options, providers=["CPUExecutionProvider"])
    images = np.ascontiguousarray(images_BxHxWx3.transpose(0, 3, 1, 2))
    found: np.ndarray = session.run(None, {"images": images})[0]
    return found
