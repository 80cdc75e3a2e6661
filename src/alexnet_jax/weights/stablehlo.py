"""Export as StableHLO, by `jax.export`."""

import functools

import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.weights.network import Network

ENDINGS: tuple[str, ...] = (".stablehlo",)
PACKAGES: tuple[str, ...] = ()
PLATFORMS = ("cpu", "cuda", "tpu")


def check(config: ConfigDict) -> None:
    """Do nothing: StableHLO can express every network."""


def contents(network: Network, names: tuple[str, ...]) -> tuple[bytes, ...]:
    """Return the content of the file: what `jax.export.deserialize` reads, for any batch size."""
    import jax
    from jax import export

    (batch,) = export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, *network.input_shape), network.input_dtype)
    logits = functools.partial(network.logits, network.params)
    frames = jax.config.values["jax_traceback_in_locations_limit"]
    jax.config.update("jax_traceback_in_locations_limit", 0)  # no paths of this machine in the file
    try:
        exported = export.export(jax.jit(logits), platforms=PLATFORMS)(images)
    finally:
        jax.config.update("jax_traceback_in_locations_limit", frames)
    return (bytes(exported.serialize()),)


def logits(files: tuple[bytes, ...], images_BxHxWx3: np.ndarray) -> np.ndarray:
    """Compute logits by the exported program on a device of JAX."""
    from jax import export

    return np.asarray(export.deserialize(bytearray(files[0])).call(images_BxHxWx3))
