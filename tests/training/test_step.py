"""Ten steps of the full program are the same on every mesh."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from alexnet_jax import build, get_config
from alexnet_jax.layers import Local, Tanh, after, replaced, without
from alexnet_jax.parallel.mesh import make_mesh
from alexnet_jax.training.step import lower_train_step
from tests.conftest import CONFIGS, RECIPES, launch
from tests.ten_steps import ten_steps


@pytest.fixture(scope="module")
def one_device(cache_dir):
    config = get_config(f"{RECIPES / 'tiny.py'}")
    config.data.cache_dir = cache_dir
    return ten_steps(config, (1, 1))


@pytest.mark.parametrize(
    ("shape", "parallelism"),
    [
        *(((2, 1), "towers"), ((1, 2), "towers"), ((2, 2), "towers"), ((4, 2), "towers")),
        *(((2, 1), "one_weird_trick"), ((4, 2), "one_weird_trick")),
    ],
)
def test_same_numbers_on_every_mesh(tiny, one_device, shape, parallelism):
    tiny.parallelism = parallelism
    losses, state, _ = ten_steps(tiny, shape)
    expected_losses, expected, _ = one_device
    equal_up_to_rounding([losses, *jax.tree.leaves(state)], [expected_losses, *jax.tree.leaves(expected)])


@pytest.mark.parametrize("parallelism", ["towers", "one_weird_trick"])
def test_locally_connected_towers_that_communicate_on_a_mesh(tiny, parallelism):
    local = Local("local2", features=4, kernel=3, padding=(1, 1), reads="all", std=0.1)
    tiny.net.layers = after(without(tiny.net.layers, "conv2", "relu2"), "pool1", local, Tanh("tanh2"))
    expected_losses, expected, _ = ten_steps(tiny, (1, 1))
    tiny.parallelism = parallelism
    losses, state, _ = ten_steps(tiny, (2, 2))
    equal_up_to_rounding([losses, *jax.tree.leaves(state)], [expected_losses, *jax.tree.leaves(expected)])


@pytest.mark.parametrize(
    ("shape", "parallelism"),
    [
        ((1, 1), "towers"),
        ((2, 2), "towers"),
        ((4, 1), "towers"),
        ((2, 2), "one_weird_trick"),
        ((4, 1), "one_weird_trick"),
    ],
)
@pytest.mark.parametrize("parts", [2, 4])
def test_accumulated_gradients_are_those_of_the_whole_batch(tiny, one_device, shape, parallelism, parts):
    """With the same crops, colours and dropout for each image."""
    tiny.parallelism, tiny.accumulation_steps = parallelism, parts
    losses, state, _ = ten_steps(tiny, shape)
    expected_losses, expected, _ = one_device
    equal_up_to_rounding([losses, *jax.tree.leaves(state)], [expected_losses, *jax.tree.leaves(expected)])


@pytest.mark.parametrize("shape", [(1, 1), (2, 2)])
def test_accumulation_saves_memory(cache_dir, shape):
    config = get_config(f"{CONFIGS / 'cifar10.py'}:towers")
    config.batch_size = 256

    def temporaries(parts):
        config.accumulation_steps = parts
        compiled = lower_train_step(build(config), config, make_mesh(*shape)).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    whole = temporaries(1)
    assert temporaries(2) < 0.7 * whole
    assert temporaries(8) < 0.3 * whole


def test_all_processes_compile_the_same_program():
    """Their strings have different hashes."""
    code = (
        "from alexnet_jax import build, get_config; from alexnet_jax.parallel.mesh import make_mesh;"
        "from alexnet_jax.training.step import lower_train_step; import jax;"
        "jax.config.update('jax_num_cpu_devices', 4);"
        f"config = get_config('{RECIPES / 'tiny.py'}');"
        "config.optimizer.name, config.parallelism = 'lars', 'one_weird_trick';"
        "print(hash('a'), lower_train_step(build(config), config, make_mesh(2, 2)).as_text())"
    )
    seeds = [{**os.environ, "PYTHONHASHSEED": seed, "JAX_PLATFORMS": "cpu"} for seed in ("0", "1")]
    one, other = (subprocess.check_output([sys.executable, "-c", code], env=env, text=True) for env in seeds)
    assert one.partition(" ")[0] != other.partition(" ")[0]
    assert one.partition(" ")[2] == other.partition(" ")[2]


@pytest.fixture(scope="module")
def with_batch_norm(cache_dir):
    """Ten steps with batch normalization and LARS on one device, for each size of a group."""
    return {group: ten_steps(normalized(cache_dir, group), (1, 1))[:2] for group in (0, 8, 4)}


def normalized(cache_dir, group):
    config = get_config(f"{RECIPES / 'tiny.py'}:large_batch")
    config.data.cache_dir = cache_dir
    for name in ("norm1", "norm2"):
        config.net.layers = replaced(config.net.layers, name, group=group)
    return config


@pytest.mark.parametrize(
    ("shape", "parallelism"),
    [((2, 2), "towers"), ((4, 1), "towers"), ((1, 2), "towers"), ((2, 2), "one_weird_trick")],
)
@pytest.mark.parametrize("group", [0, 8, 4])
def test_batch_normalization_and_lars_on_every_mesh(with_batch_norm, cache_dir, group, shape, parallelism):
    config = normalized(cache_dir, group)
    config.parallelism = parallelism
    losses, state, _ = ten_steps(config, shape)
    expected_losses, expected = with_batch_norm[group]
    equal_up_to_rounding([losses, *jax.tree.leaves(state)], [expected_losses, *jax.tree.leaves(expected)])


@pytest.mark.parametrize("parallelism", ["towers", "one_weird_trick"])
def test_batch_normalization_with_accumulated_gradients(with_batch_norm, cache_dir, parallelism):
    config = normalized(cache_dir, group=4)
    config.parallelism, config.accumulation_steps = parallelism, 2
    losses, state, _ = ten_steps(config, (2, 2))
    expected_losses, expected = with_batch_norm[4]
    equal_up_to_rounding([losses, *jax.tree.leaves(state)], [expected_losses, *jax.tree.leaves(expected)])


@pytest.mark.parametrize("parallelism", ["towers", "one_weird_trick"])
def test_bfloat16_on_a_mesh(tiny, parallelism):
    """bfloat16 has 8 bits, and a mesh rounds other partial sums."""
    tiny.dtype = "bfloat16"
    expected, _, _ = ten_steps(tiny, (1, 1))
    tiny.parallelism = parallelism
    found, _, _ = ten_steps(tiny, (2, 2))
    np.testing.assert_allclose(found, expected, rtol=2e-2)


def equal_up_to_rounding(ours, theirs):
    """Compare the losses, then the arrays of the state.

    float32 has a relative error of 6e-8. Another order of summation changes the loss, and the weights (of
    about 0.1), by at most some hundred times as much over ten steps.
    """
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-5)
    for mine, other in zip(ours[1:], theirs[1:], strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-6)


SPREAD = {
    2: ["(1, 2) towers", "(4, 2) towers", "(2, 2) one_weird_trick"],
    4: ["(2, 2) towers", "(4, 2) towers"],
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("processes", "recipe"), [(2, "tiny.py"), (4, "tiny.py"), (2, "tiny.py:large_batch")]
)
def test_same_numbers_with_the_devices_spread_over_processes(
    one_device, with_batch_norm, cache_dir, tmp_path, processes, recipe
):
    wanted, out = SPREAD[processes], tmp_path / "out.npz"
    launch(processes, sys.executable, "-m", "tests.ten_steps", out, cache_dir, RECIPES / recipe, *wanted)
    losses, state = with_batch_norm[0] if recipe.endswith("large_batch") else one_device[:2]
    expected = [losses, *jax.tree.leaves(state)]
    with np.load(out) as found:
        for name in wanted:
            equal_up_to_rounding([found[f"{name}/{i}"] for i in range(len(expected))], expected)
            each_loaded_its_part(found[f"{name}/rows"], shards=int(name[1]))


def each_loaded_its_part(rows_PxN, shards):
    """Check that a process loads its part of ten batches of 16. Those that share a shard load the same."""
    processes = len(rows_PxN)
    groups = min(processes, shards)  # of processes that load the same
    by_group = rows_PxN.reshape(groups, processes // groups, -1)
    assert (by_group == by_group[:, :1]).all()
    assert by_group.shape[-1] == 160 // groups
    assert len(np.unique(by_group[:, 0])) == 160


def test_the_first_steps_never_change(one_device):
    """If this fails, runs can't be resumed: something draws or computes other numbers than before.

    If that is intended, write it into the CHANGELOG, and the new numbers here.
    """
    np.testing.assert_allclose(one_device[0][:3], GOLDEN, rtol=1e-4)


GOLDEN = [2.298348, 2.313532, 2.300858]
