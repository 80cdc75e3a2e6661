"""Options for XLA's compiler."""

import pytest

from alexnet_jax import build, get_config
from alexnet_jax.net.shapes import multiplications
from alexnet_jax.parallel.mesh import make_mesh
from alexnet_jax.runtime.compiler import LEAST, compiler_options
from alexnet_jax.training.step import lower_train_step
from tests.conftest import IN_ONEDNN, RECIPES


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_on_x86_the_convolutions_of_the_papers_network_run_in_onednn(dtype):
    config = get_config("alexnet")
    config.batch_size, config.dtype, config.data.image_size, config.data.crop_size = 2, dtype, 128, 127
    text = lower_train_step(build(config), config, make_mesh(1, 1)).compile().as_text()
    assert ("__onednn$convolution" in text) == IN_ONEDNN
    assert bool(compiler_options(make_mesh(1, 1), LEAST)) == IN_ONEDNN


@pytest.mark.parametrize("mesh", [(2, 1), (1, 2)])
def test_several_cpu_devices_have_no_options(mesh):
    assert compiler_options(make_mesh(*mesh), LEAST) == {}


def test_tiny_networks_have_no_options():
    tiny = build(get_config(str(RECIPES / "tiny.py")))
    assert multiplications(tiny.shapes) < LEAST
    assert compiler_options(make_mesh(1, 1), multiplications(tiny.shapes)) == {}


def test_other_platforms_have_no_options(libtpu):
    from alexnet_jax.plan.chips import devices_of

    assert compiler_options(make_mesh(1, 1, devices_of("v5e:1x1")), LEAST) == {}
