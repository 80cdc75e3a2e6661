"""A compiled step communicates what `expected` lists, and nothing else."""

import dataclasses
import re
from collections import Counter

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from alexnet_jax import build, get_config
from alexnet_jax.layers import Local, after, replaced, without
from alexnet_jax.net import towers
from alexnet_jax.net.ops import lrn
from alexnet_jax.parallel.axes import TOWER, splits_units
from alexnet_jax.parallel.collectives import Collective, expected, sent_by_each
from alexnet_jax.parallel.mesh import make_mesh
from alexnet_jax.parallel.placement import local_params, shardings
from alexnet_jax.plan import hlo
from alexnet_jax.plan.chips import devices_of
from alexnet_jax.plan.plan import compile_step
from alexnet_jax.training import step
from alexnet_jax.variants import batch_norm
from tests.conftest import CONFIGS, RECIPES

PARAMS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")


def sent(config, mesh):
    """Count the collectives of the compiled step."""
    model = build(config)
    compiled = compile_step(model, config, mesh)
    local = local_params(model.shapes, splits_units(config), mesh)
    program = hlo.parse(compiled.as_text())
    return Counter(hlo.collectives(program, dict(mesh.shape), config.net.layers, local))


def paper(parallelism="towers"):
    """Return the paper's network at 224 with 128 images in each shard of the data, for 4 x 2 devices."""
    config = get_config(str(CONFIGS / "alexnet.py"))
    config.batch_size, config.parallelism = 4 * 128, parallelism
    return config


def small(parallelism="towers", layers=None):
    config = get_config(f"{RECIPES / 'tiny.py'}")
    config.batch_size, config.parallelism = 32, parallelism
    config.net.layers = layers or config.net.layers
    return config


def between_towers(gathered, scattered):
    """List the exchanges between the paper's towers, each once, for 128 images in each shard of the data."""
    into = {"conv3": 128 * 13 * 13 * 256, "fc6": 128 * 6 * 6 * 256, "fc7": 128 * 4096}
    return [
        Collective("all-reduce", ("tower",), ("fc8",), "forward", 128 * 1000 * 4),
        *(Collective("all-gather", ("tower",), (x,), "forward", n * gathered) for x, n in into.items()),
        *(Collective("reduce-scatter", ("tower",), (x,), "backward", n * scattered) for x, n in into.items()),
    ]


# Half of the kernels and biases, except fc8's bias, which is whole; and the loss and the error.
GRADIENTS = Collective("all-reduce", ("data",), PARAMS, "backward", 4 * ((60_965_224 - 1000) // 2 + 1000 + 2))


def test_the_papers_net_on_eight_cpu_devices():
    found = sent(paper(), make_mesh(4, 2))
    assert found == Counter([*between_towers(4, 4), GRADIENTS])
    assert found == Counter(expected(paper(), 4, 2))


def test_the_papers_net_on_a_tpu_v5e(libtpu):
    """A TPU gathers float32 as bfloat16, because its products take no more."""
    found = sent(paper(), make_mesh(4, 2, devices_of("v5e:2x4")))
    assert found == Counter([*between_towers(2, 4), GRADIENTS])
    assert found == Counter(expected(paper(), 4, 2, gathered_itemsize=2))


@pytest.mark.parametrize("parallelism", ["towers", "one_weird_trick"])
def test_a_locally_connected_layer_communicates_like_a_convolution(parallelism):
    layers = get_config(f"{RECIPES / 'tiny.py'}").net.layers
    local = Local("local2", features=4, kernel=3, padding=(1, 1), reads="all")
    config = small(parallelism, after(without(layers, "conv2", "relu2"), "pool1", local))
    found = sent(config, make_mesh(2, 2))
    assert found == Counter(expected(config, 2, 2))
    assert Collective("all-gather", ("tower",), ("local2",), "forward", 16 * 2 * 2 * 12 * 4) in found


def one_weird_trick(gathered, scattered):
    batch = 4 * 128
    into = {
        (("tower",), "conv3"): 128 * 13 * 13 * 256,
        (("tower",), "fc6"): 128 * 6 * 6 * 256,
        (("data",), "fc6"): batch * 6 * 6 * 256,
        (("data",), "fc7"): batch * 2048,
        (("tower",), "fc7"): batch * 4096,
    }
    convolutions = 4 * (2_334_080 // 2 + 1000 + 2)
    return Counter([
        *(Collective("all-gather", a, (x,), "forward", n * gathered) for (a, x), n in into.items()),
        *(Collective("reduce-scatter", a, (x,), "backward", n * scattered) for (a, x), n in into.items()),
        Collective("reduce-scatter", ("data",), ("fc8",), "forward", batch * 1000 * 4),
        Collective("all-gather", ("data",), ("fc8",), "backward", batch * 1000 * gathered),
        Collective("all-reduce", ("tower",), ("fc8",), "forward", 128 * 1000 * 4),
        Collective("all-reduce", ("data",), (*PARAMS[:5], "fc8"), "backward", convolutions),
    ])  # fmt: skip


def test_one_weird_trick_on_eight_cpu_devices():
    found = sent(paper("one_weird_trick"), make_mesh(4, 2))
    assert found == Counter(expected(paper("one_weird_trick"), 4, 2))
    assert found == one_weird_trick(4, 4)


def test_one_weird_trick_on_a_tpu_v5e(libtpu):
    found = sent(paper("one_weird_trick"), make_mesh(4, 2, devices_of("v5e:2x4")))
    assert found == one_weird_trick(2, 4)
    assert found == Counter(expected(paper("one_weird_trick"), 4, 2, gathered_itemsize=2))


@pytest.mark.parametrize("shape", [(1, 1), (8, 1), (1, 2), (2, 2), (4, 2)])
@pytest.mark.parametrize("parallelism", ["towers", "one_weird_trick"])
def test_a_small_network_on_any_mesh(shape, parallelism):
    """An axis with one member communicates nothing."""
    config = small(parallelism)
    assert sent(config, make_mesh(*shape)) == Counter(expected(config, *shape))


def test_towers_that_share_a_device(tiny):
    config = small()
    config.net.towers = 4
    assert sent(config, make_mesh(2, 2)) == Counter(expected(config, 2, 2))


@pytest.mark.parametrize("shape", [(4, 2), (2, 2)])
def test_an_lrn_across_the_towers_gathers_only_their_edges(shape):
    """As in Caffe: the first two and the last two channels of each tower, and back their gradients."""
    config = small(layers=replaced(small().net.layers, "norm1", reads="all"))
    config.net.towers = 4 if shape == (2, 2) else 2
    found = sent(config, make_mesh(*shape))
    assert found == Counter(expected(config, *shape))
    edges = 32 // shape[0] * 6 * 6 * 4 * config.net.towers * 4
    assert found[Collective("all-gather", ("tower",), ("norm1",), "forward", edges)] == 1
    assert found[Collective("reduce-scatter", ("tower",), ("norm1",), "backward", edges)] == 1


def test_separate_towers_communicate_only_in_the_classifier():
    layers = replaced(replaced(small().net.layers, "conv2", reads="own"), "fc6", reads="own")
    found = sent(small(layers=layers), make_mesh(4, 2))
    over_tower = {c for c in found if "tower" in c.axes}
    assert over_tower == {Collective("all-reduce", ("tower",), ("fc8",), "forward", 8 * 10 * 4)}


def test_a_gather_that_a_layer_does_not_declare_is_found(monkeypatch):
    """An LRN gathers all channels of all towers, although its window should stay in one tower."""

    def lrn_across(x, layer, plain=lrn.lrn):
        channels = x.shape[-1]
        everything = plain(lax.all_gather(x, TOWER, axis=3, tiled=True), layer)
        return lax.dynamic_slice_in_dim(everything, lax.axis_index(TOWER) * channels, channels, 3)

    monkeypatch.setattr(lrn, "lrn", lrn_across)
    extra = sent(small(), make_mesh(4, 2)) - Counter(expected(small(), 4, 2))
    assert {(c.kind, c.axes, c.layers) for c in extra} == {
        ("all-gather", ("tower",), ("norm1",)),
        ("reduce-scatter", ("tower",), ("norm1",)),
    }


def test_a_gather_that_xla_adds_is_found(monkeypatch):
    """A kernel is split in another way than the step reads it, so XLA gathers it."""
    plain = step.abstract_state

    def differently_split(model, config, mesh):
        state = plain(model, config, mesh)
        kernel = state.params["conv2"]["kernel"]
        sharding = shardings(mesh, jax.P("tower", None, None, None, "data"))
        moved = jax.ShapeDtypeStruct(kernel.shape, kernel.dtype, sharding=sharding)
        params = state.params | {"conv2": state.params["conv2"] | {"kernel": moved}}
        return dataclasses.replace(state, params=params)

    monkeypatch.setattr(step, "abstract_state", differently_split)
    extra = sent(small(), make_mesh(4, 2)) - Counter(expected(small(), 4, 2))
    assert {(c.kind, c.axes, c.layers) for c in extra} == {("all-gather", ("data",), ("conv2",))}


def test_an_array_that_is_sent_twice_is_found(monkeypatch):
    plain = towers._read_all_towers
    monkeypatch.setattr(
        towers,
        "_read_all_towers",
        lambda xs, axis: [
            a + b for a, b in zip(plain(xs, axis), plain([2 * x for x in xs], axis), strict=True)
        ],
    )
    extra = sent(small(), make_mesh(4, 2)) - Counter(expected(small(), 4, 2))
    assert {(c.kind, c.layers) for c in extra} >= {("all-gather", ("conv2",)), ("all-gather", ("fc6",))}


def test_gradients_are_summed_in_float32_for_any_dtype():
    config = small()
    config.dtype = "bfloat16"
    lowered = step.lower_train_step(build(config), config, make_mesh(4, 2)).as_text()
    sums = re.findall(r'"stablehlo.all_reduce".*?\) : \((.*?)\) ->', lowered, re.DOTALL)
    assert len(sums) > 8
    assert not [types for types in sums if "bf16" in types]
    # XLA's CPU compiler gathers and scatters in float32.
    wide = Counter(expected(config, 4, 2, gathered_itemsize=4, scattered_itemsize=4))
    assert sent(config, make_mesh(4, 2)) == wide


def test_a_collective_that_belongs_to_no_layer_is_refused():
    mesh = make_mesh(4, 2)
    x = jax.ShapeDtypeStruct((8, 4, 3), jnp.float32, sharding=shardings(mesh, jax.P("data", "tower")))
    gather = jax.jit(lambda x: x * 2, out_shardings=shardings(mesh, jax.P()))
    program = hlo.parse(gather.lower(x).compile().as_text())
    with pytest.raises(hlo.UnknownCollective, match="belongs to no layer"):
        hlo.collectives(program, dict(mesh.shape), small().net.layers, {})


def test_bytes_sent_around_a_ring():
    gradients = Collective("all-reduce", ("data",), PARAMS, "backward", 800)
    gathered = Collective("all-gather", ("tower",), ("fc6",), "forward", 100)
    assert gradients.sent({"data": 4, "tower": 2}) == 1200
    assert gathered.sent({"data": 4, "tower": 2}) == 50
    assert sent_by_each([gradients, gathered], 4, 2) == 1250


@pytest.mark.parametrize("parallelism", ["towers", "one_weird_trick"])
@pytest.mark.parametrize(
    ("group", "sums"),
    [(0, [48, 48, 64, 64]), (16, [96, 96, 128, 128]), (8, []), (4, [])],
    ids=["the whole batch", "two devices", "one device", "half a device"],
)
def test_batch_normalization_sums_over_devices_that_share_a_group(parallelism, group, sums):
    """Two numbers for each channel and group, forward and backward."""
    config = small(parallelism)
    batch_norm(config)
    for name in ("norm1", "norm2"):
        config.net.layers = replaced(config.net.layers, name, group=group)
    found = sent(config, make_mesh(4, 2))
    assert found == Counter(expected(config, 4, 2))
    norms = [c.bytes for c in found.elements() if c.layers in (("norm1",), ("norm2",))]
    assert sorted(norms) == sums


def test_lars_sums_the_squares_of_split_kernels():
    config = small()
    config.optimizer.name = "lars"
    found = sent(config, make_mesh(4, 2))
    assert found == Counter(expected(config, 4, 2))
    norms = Collective("all-reduce", ("tower",), (), "update", 2 * 4 * len(("conv1", "conv2", "fc6", "fc8")))
    assert norms in found
    config.parallelism = "one_weird_trick"
    found = sent(config, make_mesh(4, 2))
    assert found == Counter(expected(config, 4, 2))
    assert Collective("all-reduce", ("data", "tower"), (), "update", 2 * 4 * len(("fc6", "fc8"))) in found
