"""Export as safetensors, with a model card and the PyTorch module for the arrays."""

import json

import numpy as np

from alexnet_jax.config import saved
from alexnet_jax.weights import torch_module
from alexnet_jax.weights.model_card import card
from alexnet_jax.weights.network import Network

ENDINGS: tuple[str, ...] = (".safetensors", "_module.py", ".md")
PACKAGES: tuple[str, ...] = ("safetensors",)
check = torch_module.check


def contents(network: Network, names: tuple[str, ...]) -> tuple[bytes, ...]:
    """Return the contents of the files with these names: arrays, module and model card."""
    from safetensors.numpy import save

    weights, module, page = names
    config = saved.to_json(network.config)
    for key in ("cache_dir", "cache_from"):  # paths of this machine
        config["data"][key] = None
    metadata = {
        "format": "pt",
        "step": str(network.step),
        "config": json.dumps(config),
        "classes": json.dumps(network.data.class_words),
    }
    return (
        save(network.arrays, metadata),
        torch_module.source(network),
        card(network, page.removesuffix(".md"), weights, module.removesuffix(".py")),
    )


def logits(files: tuple[bytes, ...], images_BxHxWx3: np.ndarray) -> None:
    """Return None: the file holds arrays, which nothing here runs."""
