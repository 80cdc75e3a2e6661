"""The FLOPs of a network, and the peaks of devices."""

import types

import jax
import numpy as np
import pytest

from alexnet_jax import get_config
from alexnet_jax.runtime import chips
from alexnet_jax.training.flops import Flops, flops_of, flops_per_image
from tests.conftest import CONFIGS


def test_the_flops_of_the_papers_network():
    """The sizes of section 3.5 give 724 million multiplications for the forward pass of an image."""
    forward = 2 * 724_406_816
    conv1 = 2 * 2 * 55 * 55 * 48 * 11 * 11 * 3
    assert flops_per_image(get_config(str(CONFIGS / "alexnet.py"))) == 3 * forward - conv1


def test_the_utilization_is_the_fraction_of_the_peak():
    assert Flops(per_image=2e9, peak=1e13).achieved(1000) == (2e12, 0.2)
    assert Flops(per_image=2e9, peak=None).achieved(1000) == (2e12, None)


def mesh(*kinds):
    return types.SimpleNamespace(
        devices=np.array([types.SimpleNamespace(device_kind=kind) for kind in kinds])
    )


def test_the_peak_is_that_of_all_devices(tiny):
    h100 = "NVIDIA H100 80GB HBM3"
    assert flops_of(tiny, mesh(h100, h100)).peak == 2 * 494.7e12
    tiny.dtype = "bfloat16"
    assert flops_of(tiny, mesh(h100, h100)).peak == 2 * 989.4e12
    assert flops_of(tiny, mesh(h100, "cpu")).peak is None


@pytest.mark.parametrize(
    ("kind", "flops"),
    [
        ("TPU v4", 275e12),
        ("TPU v5 lite", 197e12),
        ("TPU v5", 459e12),
        ("TPU v6 lite", 918e12),
        ("TPU7x", 1153.5e12),
        ("NVIDIA H200", 989.4e12),
        ("NVIDIA H100 PCIe", None),
    ],
)
def test_peaks_by_the_names_of_jax(kind, flops):
    assert chips.peak(kind, "bfloat16") == flops


def test_the_peak_of_a_cpu_is_unknown():
    assert chips.peak(jax.devices()[0].device_kind, "float32") is None
