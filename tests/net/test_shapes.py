"""Layers describe themselves: a new layer is counted everywhere, an unknown one is refused everywhere."""

import dataclasses
import math
import typing

import jax
import numpy as np
import pytest

from alexnet_jax import UserError, apply, build, init, torch_layout
from alexnet_jax.layers import (
    TYPES,
    Classifier,
    Conv,
    LayerBase,
    Std,
    Weights,
    after,
    replaced,
)
from alexnet_jax.layers.saved import from_json, to_json
from alexnet_jax.net.model import abstract_params
from alexnet_jax.net.shapes import layer_shapes
from alexnet_jax.parallel.axes import splits_units
from alexnet_jax.parallel.collectives import expected
from alexnet_jax.parallel.mesh import make_mesh, mesh_for
from alexnet_jax.parallel.placement import param_specs
from alexnet_jax.schema import Rule
from alexnet_jax.training.flops import flops_per_image
from alexnet_jax.training.layers_table import layers_table
from alexnet_jax.training.schedule import learning_rates


@dataclasses.dataclass(frozen=True)
class Scale(LayerBase):
    """A layer that multiplies each channel, or each unit, by a factor. It has neither kernel nor bias."""

    std: Std = 0.0

    def weights(self, read, towers):
        return Weights(
            shapes={"factor": (towers, read[-1])},
            axes={"factor": ("tower", "units" if len(read) == 1 else None)},
            fan_in=1,
            multiplications=towers * math.prod(read),
            mean=1.0,
            std=self.std,
        )


@pytest.fixture
def scaled(tiny):
    """The tiny recipe with a new layer after its first pool, where a tower has 2 x 2 x 6 elements."""
    tiny.net.layers = after(tiny.net.layers, "pool1", Scale("scale1"))
    return tiny


@pytest.fixture
def known(monkeypatch):
    """Add the new layer to `layers.TYPES` and nowhere else."""
    monkeypatch.setitem(TYPES, "Scale", Scale)


REFUSE = {
    "shapes": lambda config: layer_shapes(config.net.layers, 2, (7, 7, 3)),
    "model": build,
    "collectives": lambda config: expected(config, 2, 2),
    "mesh": mesh_for,
    "FLOPs": flops_per_image,
    "torch": lambda config: torch_layout({}, config),
}


@pytest.mark.parametrize("function", REFUSE)
def test_an_unknown_layer_is_refused(scaled, function):
    with pytest.raises(
        UserError, match=r"^net.layers: Scale\(name='scale1'.* is not a layer; layers are Conv, "
    ):
        REFUSE[function](scaled)


def test_a_new_layer_is_counted_without_a_change_elsewhere(tiny, known):
    before, summed = flops_per_image(tiny), expected(tiny, 4, 2)[-1]
    tiny.net.layers = after(tiny.net.layers, "pool1", Scale("scale1"))
    assert flops_per_image(tiny) - before == 3 * 2 * (2 * 2 * 2 * 6)
    assert expected(tiny, 4, 2)[-1] == dataclasses.replace(
        summed, layers=("conv1", "scale1", "conv2", "fc6", "fc8"), bytes=summed.bytes + 4 * 6
    )
    model = build(tiny)
    assert param_specs(model.shapes)["scale1"] == {"factor": jax.P("tower", None)}
    (row,) = [row for row in layers_table(model, tiny, make_mesh(4, 2)).splitlines() if "scale1" in row]
    assert row.split()[2:5] == ["2x6", "tower", "12"]
    assert from_json(to_json(tiny.net.layers)) == tiny.net.layers


def test_a_layer_that_needs_only_its_own_units_gathers_nothing(tiny, known):
    """one_weird_trick splits the units of fc6. The factors of these units are split in the same way."""
    tiny.batch_size, tiny.parallelism = 32, "one_weird_trick"
    before = expected(tiny, 2, 2)
    tiny.net.layers = after(tiny.net.layers, "relu6", Scale("scale6"))
    assert expected(tiny, 2, 2) == before
    assert param_specs(build(tiny).shapes, splits_units(tiny))["scale6"] == {"factor": jax.P("tower", "data")}


def test_initial_values_have_a_mean(tiny, known):
    layers = after(tiny.net.layers, "relu6", Scale("scale6", std=0.5))
    tiny.net.layers = after(layers, "pool1", Scale("scale1"))
    params = init(build(tiny), jax.random.key(0))
    np.testing.assert_array_equal(params["scale1"]["factor"], np.ones((2, 6)))
    assert np.mean(params["scale6"]["factor"]) == pytest.approx(1, abs=0.3)
    assert np.std(params["scale6"]["factor"]) == pytest.approx(0.5, abs=0.2)


def test_arrays_other_than_the_bias_use_the_settings_of_kernels(tiny, known):
    tiny.net.layers = after(tiny.net.layers, "pool1", Scale("scale1"))
    tiny.optimizer.learning_rate, tiny.optimizer.bias_learning_rate = 0.5, 0.25
    rates = learning_rates(tiny, abstract_params(build(tiny)), 10, 0, 0)
    assert rates["scale1"] == {"factor": 0.5}
    assert rates["fc8"] == {"kernel": 0.5, "bias": 0.25}


@dataclasses.dataclass(frozen=True)
class Unchecked(LayerBase):
    factor: float = 1.0


def test_a_field_without_a_rule_is_named(monkeypatch):
    monkeypatch.setitem(TYPES, "Unchecked", Unchecked)
    with pytest.raises(TypeError, match=r"^Unchecked.factor has the type <class 'float'>, which has no Rule"):
        layer_shapes((Unchecked("a"), Classifier("b", 2)), 2, (7, 7, 3))


def test_apply_and_torch_layout_refuse_a_new_layer(scaled, known):
    model = build(scaled)
    params = init(model, jax.random.key(0))
    with pytest.raises(AssertionError, match="Scale"):
        apply(model, params, jax.numpy.zeros((2, 7, 7, 3)))
    with pytest.raises(UserError, match="scale1 is a Scale layer, which PyTorch does not have"):
        torch_layout(params, scaled)


@pytest.mark.parametrize("kind", TYPES.values())
def test_every_field_of_a_layer_has_a_rule(kind):
    """The rules check the fields of new layers, too."""
    for field in dataclasses.fields(kind):
        assert field.name == "name" or isinstance(typing.get_args(field.type)[-1], Rule)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kernel": 3.0}, "conv1.kernel is 3.0, but must be a positive whole number"),
        ({"padding": 1}, r"conv1.padding is 1, but must be a pair of whole numbers \(before, after\)"),
        ({"std": "fan_out"}, "conv1.std is fan_out, but must be finite and not negative, or fan_in"),
        ({"bias": float("inf")}, "conv1.bias is inf, but must be finite"),
    ],
)
def test_a_field_with_a_wrong_value_is_refused(tiny, changes, message):
    with pytest.raises(UserError, match=message):
        layer_shapes(replaced(tiny.net.layers, "conv1", **changes), 2, (7, 7, 3))


def test_lrn_across_towers_gathers_only_the_neighbouring_channels(tiny):
    def gathered(**changes):
        layers = replaced(tiny.net.layers, "norm1", **changes)
        return layer_shapes(layers, 2, (7, 7, 3))[2].gathered

    assert gathered(reads="all") == 6 * 6 * 4
    assert gathered(reads="own") == 0
    with pytest.raises(UserError, match="norm1 reaches beyond the next tower's 6 channels"):
        gathered(reads="all", window=15)


def test_shapes_of_weights_that_read_all_towers():
    shapes = layer_shapes((Conv("a", 4, 3), Conv("b", 5, 3, reads="all"), Classifier("c", 2)), 3, (7, 7, 1))
    assert [s.gathered for s in shapes] == [0, 5 * 5 * 4, 0]
    assert shapes[1].weights.shapes == {"kernel": (3, 3, 3, 12, 5), "bias": (3, 5)}
    assert (shapes[1].weights.fan_in, shapes[2].weights.fan_in) == (3 * 3 * 12, 3 * 3 * 3 * 5)
