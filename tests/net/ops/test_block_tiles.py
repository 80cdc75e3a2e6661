"""The GPUs on which the Triton kernels run."""

import types

import jax
import jax.numpy as jnp
import pytest

from alexnet_jax.layers import LRN, MaxPool
from alexnet_jax.net.ops.block_tiles import fits_gpu


@pytest.mark.parametrize(
    ("capability", "fits"), [("7.0", False), ("7.5", False), ("8.0", True), ("9.0", True)]
)
def test_gpus_without_tf32_and_bfloat16_run_no_kernel(monkeypatch, capability, fits):
    monkeypatch.setattr(jax, "local_devices", lambda: [types.SimpleNamespace(compute_capability=capability)])
    x = jax.ShapeDtypeStruct((128, 55, 55, 48), jnp.float32)
    assert fits_gpu(x, LRN("n"), MaxPool("p")) == fits
