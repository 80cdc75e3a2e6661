"""The parameters in the layout of PyTorch."""

import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.errors import UserError
from alexnet_jax.layers import (
    LRN,
    AvgPool,
    BatchNorm,
    Classifier,
    Conv,
    Dense,
    Dropout,
    Layer,
    MapNorm,
    MaxPool,
    ReLU,
    Tanh,
)
from alexnet_jax.net.shapes import LayerShapes, Params, config_shapes


def torch_layout(params: Params, config: ConfigDict) -> dict[str, np.ndarray]:
    """Convert parameters to arrays for a PyTorch network that computes the same logits in ``eval()``.

    The towers become ``groups``: ``conv2.weight`` is (out, in / groups, height, width), with the channels
    of the first tower before those of the second. A fully-connected layer that reads only its own tower
    becomes a block-diagonal matrix. The inputs of the first fully-connected layer are in the order of
    PyTorch's flattening: channels, height, width. A factor that dropout applies at test is folded into the
    weights of the next layer. Batch normalization keeps the running statistics.

    In PyTorch, apply ``LocalResponseNorm`` to each tower; it divides alpha by its window. For asymmetric
    padding, put an ``F.pad`` before the layer.

    Args:
      params: parameters from `init` or `restore`.
      config: the config of the network.

    Returns:
      ``{"conv1.weight": ..., "conv1.bias": ..., ..., "fc8.bias": ...}``, float32.

    Raises:
      UserError: PyTorch does not have a layer, or the factor of a dropout cannot be folded.
    """
    towers = config.net.towers
    arrays: dict[str, np.ndarray] = {}
    for shapes, factor in folded(config):
        if shapes.weights is not None:
            name = shapes.layer.name
            weights = {kind: np.asarray(x, np.float32) for kind, x in params[name].items()}
            if isinstance(shapes.layer, BatchNorm):
                arrays |= {f"{name}.{_OF_BATCH_NORM[kind]}": x.reshape(-1) for kind, x in weights.items()}
                continue
            arrays[f"{name}.weight"] = factor * np.ascontiguousarray(_weight(shapes, weights, towers))
            arrays[f"{name}.bias"] = weights["bias"].reshape(-1)
    return arrays


_OF_BATCH_NORM = {"scale": "weight", "bias": "bias", "mean": "running_mean", "variance": "running_var"}
"""PyTorch's names of the arrays of a batch normalization."""


def folded(config: ConfigDict) -> list[tuple[LayerShapes, float]]:
    """Return each layer, with the factor of dropout at test that its weights must contain, 1 for none.

    Raises:
      UserError: PyTorch does not have a layer, or the factor of a dropout cannot be folded.
    """
    found, factor = [], 1.0
    for shapes in config_shapes(config):
        if isinstance(shapes.layer, BatchNorm) and shapes.shared and config.net.towers > 1:
            raise UserError(
                f"{shapes.layer.name} normalizes the image separately in each tower, which this export does"
                " not support: put it after the first convolution"
            )
        if isinstance(shapes.layer, Conv | Dense | Classifier):
            found.append((shapes, factor))
            factor = 1.0
        else:
            factor = _factor_after(shapes.layer, factor)
            found.append((shapes, 1.0))
    return found


def _factor_after(layer: Layer, factor: float) -> float:
    """Return the factor to fold into the next weights, given the factor before the layer."""
    match layer:
        case Dropout(rate=rate, scale_at="test"):
            return factor * (1 - rate)
        case Dropout() | ReLU() | MaxPool() | AvgPool():
            return factor
        case LRN() | MapNorm() | BatchNorm() | Tanh() if factor == 1:
            return factor
        case LRN() | MapNorm() | BatchNorm() | Tanh():
            raise UserError(
                f"the factor of the dropout before {layer.name} can't be folded into weights: put"
                f" {layer.name} before the dropout"
            )
        case _:
            raise _not_in_torch(layer)


def _weight(shapes: LayerShapes, weights: dict[str, np.ndarray], towers: int) -> np.ndarray:
    """Convert a layer's kernel, with a leading tower axis, to PyTorch's layout."""
    match shapes.layer:
        case Conv():
            kernel = weights["kernel"]
            # (tower, height, width, in, out) -> (tower and out, in, height, width)
            return kernel.transpose(0, 4, 3, 1, 2).reshape(-1, *kernel.shape[3:0:-1])
        case Dense():
            read = towers if shapes.gathers else 1
            blocks = [_channel_first(k, shapes.inputs, read) for k in weights["kernel"]]
            return np.concatenate(blocks) if shapes.shared or shapes.gathers else _block_diagonal(blocks)
        case Classifier():
            blocks = [_channel_first(k, shapes.inputs, 1) for k in weights["kernel"]]
            return np.sum(blocks, axis=0) if shapes.shared else np.concatenate(blocks, axis=1)
        case _:
            raise _not_in_torch(shapes.layer)


def _not_in_torch(layer: Layer) -> UserError:
    return UserError(f"{layer.name} is a {type(layer).__name__} layer, which PyTorch does not have")


def _channel_first(kernel_IxO: np.ndarray, inputs: tuple[int, ...], towers: int) -> np.ndarray:
    """Return (out, in) of a fully-connected layer. PyTorch flattens images as channels, height, width."""
    if len(inputs) == 1:
        return kernel_IxO.T
    height, width, channels = inputs
    kernel = kernel_IxO.reshape(height, width, towers * channels, -1)
    return kernel.transpose(3, 2, 0, 1).reshape(kernel.shape[-1], -1)


def _block_diagonal(blocks: list[np.ndarray]) -> np.ndarray:
    rows, columns = blocks[0].shape
    matrix = np.zeros((len(blocks) * rows, len(blocks) * columns), np.float32)
    for i, block in enumerate(blocks):
        matrix[i * rows : (i + 1) * rows, i * columns : (i + 1) * columns] = block
    return matrix
