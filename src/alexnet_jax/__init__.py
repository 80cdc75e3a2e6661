"""The AlexNet of "ImageNet Classification with Deep Convolutional Neural Networks" (2012) in JAX.

What a notebook needs: `get_config`, `build`, `init`, `apply`, `restore`, `torch_layout`. They are
imported when they are first used, so that reading a config does not wait for JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alexnet_jax.config.recipe import get_config
    from alexnet_jax.errors import UserError
    from alexnet_jax.net.model import apply, build, init
    from alexnet_jax.net.torch_layout import torch_layout
    from alexnet_jax.training.restored import Restored, restore

_HOME = {
    "Restored": "training.restored",
    "UserError": "errors",
    "apply": "net.model",
    "build": "net.model",
    "get_config": "config.recipe",
    "init": "net.model",
    "restore": "training.restored",
    "torch_layout": "net.torch_layout",
}
__all__ = ["Restored", "UserError", "apply", "build", "get_config", "init", "restore", "torch_layout"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
