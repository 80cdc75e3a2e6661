"""The formats of `export`. Nothing here imports JAX or the package of a format."""

import importlib.util
from typing import Protocol

import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.errors import UserError, near
from alexnet_jax.weights import onnx_file, safetensors_file, stablehlo, torch_file
from alexnet_jax.weights.network import Network


class Format(Protocol):
    """What the module of a format defines.

    Attributes:
      ENDINGS: ends of the names of its files. The first one is that of the file with the parameters.
      PACKAGES: packages that it imports; the extra with its name installs them.
    """

    ENDINGS: tuple[str, ...]
    PACKAGES: tuple[str, ...]

    def check(self, config: ConfigDict) -> None:
        """Raise a `UserError` if the format can't express a network."""

    def contents(self, network: Network, names: tuple[str, ...]) -> tuple[bytes, ...]:
        """Return the contents of the files with these names."""

    def logits(self, files: tuple[bytes, ...], images_BxHxWx3: np.ndarray) -> np.ndarray | None:
        """Compute the logits of images by the runtime of the format; None if it has no runtime."""


FORMATS: dict[str, Format] = {
    "safetensors": safetensors_file,
    "torch": torch_file,
    "onnx": onnx_file,
    "stablehlo": stablehlo,
}


def find(name: str) -> Format:
    """Return a format whose packages are installed.

    Raises:
      UserError: there is no such format, or a package is missing.
    """
    if name not in FORMATS:
        raise UserError(f"no format {name}{near(name, FORMATS)}: the formats are {', '.join(FORMATS)}")
    for package in FORMATS[name].PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise UserError(f"the format {name} needs the package {package}: pip install -e '.[{name}]'")
    return FORMATS[name]
