"""The table of layers, compared with the arrays on the devices."""

import re

import jax

from alexnet_jax import build, get_config
from alexnet_jax.parallel.mesh import make_mesh
from alexnet_jax.text import size_in_words
from alexnet_jax.training.layers_table import layers_table
from alexnet_jax.training.state import new_state
from tests.conftest import CONFIGS


def row(table, name):
    (line,) = [line for line in table.splitlines() if line.startswith(f"{name} ")]
    return re.split(r" {2,}", line)


def test_the_papers_net_on_two_towers():
    config = get_config(str(CONFIGS / "alexnet.py"))
    table = layers_table(build(config), config, make_mesh(4, 2))
    assert row(table, "conv1") == [
        "conv1", "32x1x55x55x48", "2x11x11x3x48", "tower", "34,944", "140 kB", "18.6 MB",
    ]  # fmt: skip
    assert "all towers" in row(table, "conv3")
    assert "all towers" in row(table, "fc8")
    assert "60,965,224" in row(table, "in all")


def test_one_weird_trick_splits_the_units_and_gathers_the_batch():
    config = get_config(str(CONFIGS / "alexnet.py"))
    config.parallelism = "one_weird_trick"
    table = layers_table(build(config), config, make_mesh(4, 2))
    assert row(table, "fc6")[1:5] == ["128x1x512", "all towers", "2x9216x2048", "tower, data"]
    assert row(table, "fc8")[1] == "32x1000"


def test_the_bytes_are_those_on_a_device(tiny):
    for parallelism in ("towers", "one_weird_trick"):
        tiny.parallelism = parallelism
        mesh, model = make_mesh(4, 2), build(tiny)
        state = new_state(model, tiny, mesh)
        first = jax.devices()[0]
        held = sum(
            shard.data.nbytes
            for x in jax.tree.leaves((state.params, state.opt_state))
            for shard in x.addressable_shards
            if shard.device == first
        )
        assert row(layers_table(model, tiny, mesh), "in all")[2] == size_in_words(held)
