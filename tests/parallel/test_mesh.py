"""The mesh of a config, and meshes that are refused."""

import types

import jax
import pytest

from alexnet_jax import UserError, get_config
from alexnet_jax.layers import replaced
from alexnet_jax.parallel.mesh import mesh_for
from alexnet_jax.runtime.devices import lacks_bfloat16
from alexnet_jax.variants import batch_norm
from tests.conftest import CONFIGS

FOUR = jax.devices()[:4]


@pytest.mark.parametrize(
    ("shape", "towers", "expected"),
    [
        ((-1, 1), 2, (4, 1)),
        ((-1, 2), 2, (2, 2)),
        ((1, 2), 4, (1, 2)),
        ((1, 1), 1, (1, 1)),
        ((2, -1), 2, (2, 2)),
        ((1, -1), 4, (1, 4)),
        ((-1, -1), 1, (4, 1)),
    ],
)
def test_meshes_of_four_devices(tiny, shape, towers, expected):
    tiny.mesh, tiny.net.towers = shape, towers
    mesh, _ = mesh_for(tiny, FOUR)
    assert tuple(mesh.shape.values()) == expected


@pytest.mark.parametrize(
    ("shape", "towers", "batch", "message"),
    [
        ((8, 1), 2, 16, "needs 8 devices, but there are 4: take a smaller mesh"),
        ((-1, 8), 8, 16, "needs 8 devices, but there are 4: take a smaller mesh"),
        ((1, 2), 3, 16, "3 towers can't be split over 2 devices"),
        ((-1, 1), 2, 6, r"batch_size = 6 can't be split over 4 devices.*mesh='\(3, 1\)'"),
    ],
)
def test_meshes_that_are_refused(tiny, shape, towers, batch, message):
    tiny.mesh, tiny.net.towers, tiny.batch_size = shape, towers, batch
    with pytest.raises(UserError, match=message):
        mesh_for(tiny, FOUR)


def test_parts_of_a_batch_that_do_not_fit_the_devices_are_refused(tiny):
    tiny.batch_size, tiny.accumulation_steps, tiny.mesh = 16, 8, (4, 1)
    with pytest.raises(UserError, match=r"over 4 devices with 8 accumulation steps: take a multiple of 32"):
        mesh_for(tiny, FOUR)


def test_groups_that_do_not_fit_into_a_part_are_refused(tiny):
    batch_norm(tiny)
    for name in ("norm1", "norm2"):
        tiny.net.layers = replaced(tiny.net.layers, name, group=4)
    tiny.batch_size, tiny.accumulation_steps, tiny.mesh = 16, 2, (4, 1)
    with pytest.raises(UserError, match=r"gives each device 2 examples .* not a multiple of norm1.group = 4"):
        mesh_for(tiny, FOUR)
    tiny.accumulation_steps = 1
    mesh_for(tiny, FOUR)


def test_a_mesh_is_chosen_on_which_the_groups_fit_into_a_part(tiny):
    batch_norm(tiny)
    for name in ("norm1", "norm2"):
        tiny.net.layers = replaced(tiny.net.layers, name, group=4)
    tiny.batch_size, tiny.accumulation_steps, tiny.mesh = 16, 2, (-1, -1)
    mesh, _ = mesh_for(tiny, FOUR)
    assert dict(mesh.shape) == {"data": 2, "tower": 2}  # not 4 x 1, where a part has two examples


@pytest.mark.parametrize("capability", ["7.0", "7.5", "6.1"])
def test_bfloat16_is_refused_on_a_gpu_without_it(tiny, capability):
    old = types.SimpleNamespace(device_kind="Tesla T4", compute_capability=capability)
    tiny.dtype = "bfloat16"
    with pytest.raises(
        UserError,
        match=rf"bfloat16, which Tesla T4 lacks \(compute capability {capability}, 8.0 is needed\): add"
        r" --config.dtype=float32, or leave out the variant bf16$",
    ):
        mesh_for(tiny, [FOUR[0], old])


@pytest.mark.parametrize(
    ("capability", "lacks"), [("7.5", True), ("8.0", False), ("10.3", False), ("gfx90a", False)]
)
def test_gpus_without_bfloat16(capability, lacks):
    assert lacks_bfloat16(types.SimpleNamespace(compute_capability=capability)) == lacks
    assert not lacks_bfloat16(FOUR[0])


def test_the_default_is_the_mesh_that_sends_least_and_is_explained():
    config = get_config(str(CONFIGS / "alexnet.py"))
    mesh, why = mesh_for(config, FOUR)
    # two towers exchange fewer bytes for 64 images than 61 million gradients have
    assert tuple(mesh.shape.values()) == (2, 2)
    assert "data 2 x tower 2" in why
    assert "4 x 1 366 MB" in why  # 1.5 times 60,965,224 float32
    config.batch_size = 4096
    mesh, why = mesh_for(config, FOUR)
    assert tuple(mesh.shape.values()) == (4, 1)
    assert "2 x 2" in why


def test_a_mesh_that_cannot_split_the_batch_is_not_chosen(tiny):
    tiny.mesh, tiny.batch_size = (-1, -1), 6
    assert tuple(mesh_for(tiny, FOUR)[0].shape.values()) == (2, 2)


def test_units_that_cannot_be_split_are_refused(tiny):
    tiny.mesh, tiny.batch_size, tiny.parallelism = (3, 1), 15, "one_weird_trick"
    with pytest.raises(UserError, match="can't split fc6's 16 units over 3 devices"):
        mesh_for(tiny, FOUR)
