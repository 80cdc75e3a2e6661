"""StableHLO: one program for every platform and batch size."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export as jax_export
from jax.sharding import SingleDeviceSharding

from alexnet_jax import export
from alexnet_jax.plan.chips import devices_of
from tests.weights.networks import logits, network


@pytest.mark.parametrize("path", ["alexnet.py", "cifar10.py:local11"])
def test_a_program_has_only_operations_of_every_platform(path, tmp_path):
    net = network(path, "bfloat16")
    done = export(net, "stablehlo", tmp_path / "net.stablehlo", preprocessing=True)
    content = (tmp_path / "net.stablehlo").read_bytes()
    assert b"alexnet_jax/" not in content  # no paths of this machine
    exported = jax_export.deserialize(bytearray(content))
    assert exported.platforms == ("cpu", "cuda", "tpu")
    (images,) = exported.in_avals
    assert (str(images.shape[0]), images.shape[1:], images.dtype) == (
        "batch",
        (*net.data.image_size, 3),
        np.uint8,
    )
    program = exported.mlir_module()
    assert set(re.findall(r"custom_call @(\w+)", program)) <= {"shape_assertion"}  # JAX checks the batch size
    assert "bf16" not in program
    assert done.difference < 1e-5


def test_a_program_is_part_of_another(tmp_path):
    net = network("cifar10.py:local11")
    export(net, "stablehlo", tmp_path / "net.stablehlo", preprocessing=True)
    exported = jax_export.deserialize(bytearray((tmp_path / "net.stablehlo").read_bytes()))
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    found = jax.jit(lambda x: jnp.argmax(exported.call(x), axis=-1))(images)
    np.testing.assert_array_equal(found, logits(net, images).argmax(-1))


def test_a_program_can_be_compiled_for_a_tpu(tmp_path, libtpu):
    net = network("cifar10.py:towers")
    export(net, "stablehlo", tmp_path / "net.stablehlo")
    exported = jax_export.deserialize(bytearray((tmp_path / "net.stablehlo").read_bytes()))
    where = SingleDeviceSharding(devices_of("v5e:1x1")[0])
    images = jax.ShapeDtypeStruct((8, 24, 24, 3), np.float32, sharding=where)
    compiled = jax.jit(exported.call).lower(images).compile()
    assert "convolution" in compiled.as_text()
