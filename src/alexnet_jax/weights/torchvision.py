"""The weights of torchvision's ``alexnet``: a state dict as ``.pth`` or ``.safetensors``.

torchvision's transforms divide the pixels by 255, subtract a mean, and divide by a standard deviation for
each channel. Here the mean is a constant image, and the first kernel is divided by the other two. This is
exact, because the zeros of the padding come after the mean's subtraction.
"""

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_jax.errors import UserError, reason
from alexnet_jax.weights.foreign import Foreign, as_float32, extra_missing

MEAN = np.array([0.485, 0.456, 0.406])
"""The mean of each channel, RGB from 0 to 1."""

STD = np.array([0.229, 0.224, 0.225])
"""The divisor of each channel after the mean is subtracted, RGB from 0 to 1."""

LAYERS = {
    "conv1": "features.0",
    "conv2": "features.3",
    "conv3": "features.6",
    "conv4": "features.8",
    "conv5": "features.10",
    "fc6": "classifier.1",
    "fc7": "classifier.4",
    "fc8": "classifier.6",
}
"""torchvision's names of the layers."""

_SIZE = 256
_SAVE = "save the state dict alone, with torch.save(model.state_dict(), FILE)"


def read(file: str, mean: str | None) -> Foreign:
    """Read a state dict of torchvision's ``alexnet``.

    Args:
      file: path of a ``.safetensors`` file, or else of one that ``torch.save`` wrote.
      mean: must be None, because torchvision has one mean for all networks.

    Raises:
      UserError: it is another file, or needs a package that is not installed.
    """
    if mean is not None:
        raise UserError("--mean is for --from=caffe: torchvision has one mean for all networks; remove it")
    arrays = _from_safetensors(file) if Path(file).suffix == ".safetensors" else _from_pickle(file)
    return Foreign(
        file,
        "torchvision's alexnet",
        "alexnet:owt",
        as_float32(arrays),
        {layer: (f"{name}.weight", f"{name}.bias") for layer, name in LAYERS.items()},
        lambda kernel: kernel / (255 * STD)[:, None, None],
        np.broadcast_to(255 * MEAN, (_SIZE, _SIZE, 3)),
    )


def _from_safetensors(file: str) -> Mapping[str, Any]:
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ImportError as error:
        raise extra_missing(file, "safetensors") from error
    try:
        return load_file(file)
    except (SafetensorError, TypeError) as error:  # a type that NumPy does not know
        raise UserError(
            f"{file} is damaged or no safetensors file ({reason(error)}): copy it again"
        ) from error


def _from_pickle(file: str) -> Mapping[str, Any]:
    """Read a file of ``torch.save``. It may hold tensors only, because other objects may run any program."""
    try:
        import torch
    except ImportError as error:
        raise extra_missing(f"{file}, which is no .safetensors file,", "torch") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about old formats
            found = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if what := re.search(r"(?:GLOBAL|function) ([\w.]+)", str(error)):
            raise UserError(
                f"{file} is refused, because it unpickles {what[1]}, which is no tensor and may run any"
                f" program: {_SAVE}"
            ) from error
        raise UserError(f"{file} is damaged, or not written by torch.save: copy it again") from error
    except (RuntimeError, EOFError, ValueError, KeyError) as error:  # it is cut off
        raise UserError(f"{file} is damaged ({reason(error).partition('.')[0]}): copy it again") from error
    if not isinstance(found, Mapping):
        raise UserError(
            f"{file} holds an object of type {type(found).__name__}, but must hold a state dict: {_SAVE}"
        )
    for name, value in found.items():
        if not isinstance(value, torch.Tensor):
            raise UserError(
                f"{file}: {name} is of type {type(value).__name__}, but must be a tensor: {_SAVE}"
            )
        if value.layout != torch.strided or value.is_quantized:
            raise UserError(f"{file}: {name} is sparse or quantized, but must be a dense tensor")
    return {
        str(name): (tensor.float() if tensor.is_floating_point() else tensor).detach().numpy()
        for name, tensor in found.items()
    }
