"""The parameters in the layouts of other libraries."""

import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.errors import UserError
from alexnet_jax.layers import LRN, Classifier, Conv, Dense, Dropout, Local, MapNorm
from alexnet_jax.net.model import Params
from alexnet_jax.net.shapes import layer_shapes


def torch_layout(params: Params, config: ConfigDict) -> dict[str, np.ndarray]:
    """Arrays for a plain PyTorch net in ``eval()`` that computes the same logits.

    The towers are ``groups``: ``conv2.weight`` is (out, in / groups, height, width), with all of the
    first tower's maps before the second's. A fully-connected layer that reads its own tower alone
    becomes a matrix with blocks on its diagonal. The flattening before the first of them is
    channel-first. A factor that dropout applies at test is folded into the next layer's weights.
    (PyTorch's ``LocalResponseNorm`` divides alpha by its window; use it per tower. Asymmetric padding
    is an ``F.pad`` before the layer.)

    Args:
      params: as from `init` or `restore`.
      config: of the net.

    Returns:
      ``{"conv1.weight": ..., "conv1.bias": ..., ..., "fc8.bias": ...}``, float32.

    Raises:
      UserError: a dropout whose factor can't be folded, since a normalization follows it, or a locally
        connected layer, which PyTorch has not.
    """
    towers, size = config.net.towers, config.data.crop_size
    arrays: dict[str, np.ndarray] = {}
    scale = 1.0
    first = True  # reads the image, which is the same for all towers
    for shapes in layer_shapes(config.net.layers, towers, (size, size, 3)):
        layer, name = shapes.layer, shapes.layer.name
        if isinstance(layer, Dropout) and layer.scale_at == "test":
            scale *= 1 - layer.rate
        elif isinstance(layer, LRN | MapNorm) and scale != 1:
            raise UserError(f"the dropout before {name} can't be folded into weights")
        elif isinstance(layer, Local):
            raise UserError(f"{name} is locally connected, which PyTorch has no layer for")
        elif isinstance(layer, Conv | Dense | Classifier):
            kernel = scale * np.asarray(params[name]["kernel"], np.float32)
            reads_all = first or isinstance(layer, Classifier) or layer.reads == "all"
            if isinstance(layer, Conv):
                # (tower, height, width, in, out) -> (tower and out, in, height, width)
                weight = kernel.transpose(0, 4, 3, 1, 2).reshape(-1, *kernel.shape[3:0:-1])
            elif isinstance(layer, Classifier):
                per_tower = [_channel_first(k, shapes.inputs, 1) for k in kernel]
                weight = np.concatenate(per_tower, axis=1)
            else:
                read = 1 if first or not reads_all else towers
                per_tower = [_channel_first(k, shapes.inputs, read) for k in kernel]
                weight = np.concatenate(per_tower) if reads_all else _block_diagonal(per_tower)
            arrays[f"{name}.weight"] = np.ascontiguousarray(weight)
            arrays[f"{name}.bias"] = np.asarray(params[name]["bias"], np.float32).reshape(-1)
            scale, first = 1.0, False
    return arrays


def _channel_first(kernel_IxO: np.ndarray, inputs: tuple[int, ...], towers: int) -> np.ndarray:
    """(out, in) of a fully-connected layer, its inputs flattened as PyTorch does: maps, height, width."""
    if len(inputs) == 1:
        return kernel_IxO.T
    height, width, maps = inputs
    kernel = kernel_IxO.reshape(height, width, towers * maps, -1)
    return kernel.transpose(3, 2, 0, 1).reshape(kernel.shape[-1], -1)


def _block_diagonal(blocks: list[np.ndarray]) -> np.ndarray:
    rows, columns = blocks[0].shape
    matrix = np.zeros((len(blocks) * rows, len(blocks) * columns), np.float32)
    for i, block in enumerate(blocks):
        matrix[i * rows : (i + 1) * rows, i * columns : (i + 1) * columns] = block
    return matrix
