"""Options for XLA's compiler."""

import functools
import platform
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

LEAST = 10**6
"""Multiplications for one image from which on a network runs in oneDNN. All recipes have more."""

_ONEDNN = {
    "xla_cpu_experimental_onednn_custom_call": True,
    # YNNPACK computes only sums. By default it also takes what oneDNN computes faster.
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE",
}


def compiler_options(mesh: Mesh, multiplications: int) -> dict[str, Any]:
    """Return XLA's options for the programs of a network, as `jax.jit` takes them.

    On x86 processors, convolutions and products run in oneDNN, the library that PyTorch uses. Training is
    then up to 2 times as fast (docs/notebook.md). XLA can't store such programs on the disk, so tiny
    networks, as tests have, get no options. Neither do other platforms, nor releases of JAX without oneDNN,
    such as 0.10.2. On several CPU devices a step in oneDNN is slower, or does not end.

    Args:
      mesh: the devices.
      multiplications: number of multiplications for one image, forward.
    """
    on_x86 = platform.machine() in ("x86_64", "AMD64")
    is_one_cpu = mesh.devices.size == 1 and mesh.devices.flat[0].platform == "cpu"
    if not is_one_cpu or multiplications < LEAST or not on_x86 or not _has_onednn():
        return {}
    return dict(_ONEDNN)


@functools.cache
def _has_onednn() -> bool:
    """Return whether XLA computes a product in oneDNN with these options."""
    matrix = jax.ShapeDtypeStruct((256, 256), np.float32)
    try:
        with jax.default_device(jax.local_devices(backend="cpu")[0]):
            program = jax.jit(jnp.dot, compiler_options=_ONEDNN).lower(matrix, matrix).compile()
    except jax.errors.JaxRuntimeError:  # an unknown option
        return False
    return "__onednn" in str(program.as_text())
