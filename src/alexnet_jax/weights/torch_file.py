"""Export as a state dict of PyTorch, with the module that loads it."""

import io
from typing import Any

import numpy as np

from alexnet_jax.errors import UserError
from alexnet_jax.weights import torch_module
from alexnet_jax.weights.network import Network

ENDINGS: tuple[str, ...] = (".pth", "_module.py")
PACKAGES: tuple[str, ...] = ("torch",)
check = torch_module.check


def contents(network: Network, names: tuple[str, ...]) -> tuple[bytes, ...]:
    """Return the contents of the files: the state dict, and the source of the module."""
    import torch

    file = io.BytesIO()
    torch.save({name: torch.tensor(array) for name, array in network.arrays.items()}, file)
    return file.getvalue(), torch_module.source(network)


def logits(files: tuple[bytes, ...], images_BxHxWx3: np.ndarray) -> np.ndarray:
    """Compute logits in PyTorch, on the CPU.

    Raises:
      UserError: a layer has the name of a method of PyTorch's modules.
    """
    import torch

    weights, source = files
    defined: dict[str, Any] = {"__name__": "network"}
    exec(compile(source, "network.py", "exec"), defined)
    try:
        network = defined["Network"]().eval()
    except KeyError as error:
        raise UserError(f"PyTorch can't have a layer of this name: {error.args[0]}") from error
    network.load_state_dict(torch.load(io.BytesIO(weights), weights_only=True))
    with torch.inference_mode():
        found: np.ndarray = network(torch.tensor(images_BxHxWx3.transpose(0, 3, 1, 2))).numpy()
    return found
