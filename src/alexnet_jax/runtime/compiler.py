"""Options for XLA's compiler."""

import functools
import platform
from typing import Any

import jax
from jax.sharding import Mesh

_ONEDNN = {
    "xla_cpu_experimental_onednn_custom_call": True,
    "xla_cpu_experimental_ynn_fusion_type": "",  # otherwise YNNPACK takes what oneDNN computes faster
}


def compiler_options(mesh: Mesh) -> dict[str, Any]:
    """Return XLA's options for the programs of a mesh, as `jax.jit` takes them.

    On x86 processors, convolutions and products run in oneDNN, the library that PyTorch uses. A training step
    is then faster (docs/performance.md). Other platforms, and releases of XLA without these options, have
    none.
    """
    on_x86 = platform.machine() in ("x86_64", "AMD64")
    return dict(_ONEDNN) if mesh.devices.flat[0].platform == "cpu" and on_x86 and _has_onednn() else {}


@functools.cache
def _has_onednn() -> bool:
    """Return whether this release of XLA knows the options."""
    try:
        with jax.default_device(jax.local_devices(backend="cpu")[0]):
            jax.jit(lambda x: x, compiler_options=_ONEDNN).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True
