"""Weights of another framework become the parameters of the same network, or are refused."""

import dataclasses

import jax
import numpy as np
import pytest

from alexnet_jax import UserError, build, init, torch_layout
from alexnet_jax.layers import Dense, Local, replaced, with_classes
from alexnet_jax.weights.foreign import Foreign, as_float32

KEY = jax.random.key(5)


def foreign(config):
    """Return random parameters of a network, and the same in PyTorch's layout."""
    config.net.layers = replaced(config.net.layers, "drop6", scale_at="training")
    params = init(build(config), KEY)
    arrays = torch_layout(params, config)
    names = {name: (f"{name}.weight", f"{name}.bias") for name in params}
    found = Foreign("FILE", "the tiny network", "tiny", arrays, names, lambda x: x, np.zeros((8, 8, 3)))
    return params, found


@pytest.mark.parametrize("towers", [1, 2])
@pytest.mark.parametrize("conv2", ["own", "all"])
@pytest.mark.parametrize("before_fc8", ["fc6", "conv2"])
def test_the_conversion_is_the_inverse_of_torch_layout(tiny, towers, conv2, before_fc8):
    tiny.net.towers, tiny.data.pixel_std = towers, 1.0
    tiny.net.layers = replaced(tiny.net.layers, "conv2", reads=conv2)
    if before_fc8 == "conv2":
        tiny.net.layers = tuple(x for x in tiny.net.layers if x.name not in ("fc6", "relu6"))
    params, found = foreign(tiny)
    assert found.classes() == 10
    again = found.params(tiny)
    assert all(x.dtype == np.float32 for layer in again.values() for x in layer.values())
    jax.tree.map(np.testing.assert_array_equal, params, again)


def test_the_first_kernel_reads_rgb_divided_by_pixel_std(tiny):
    params, found = foreign(tiny)
    found = dataclasses.replace(found, for_rgb=lambda kernel: kernel[:, ::-1])
    kernel = found.params(tiny)["conv1"]["kernel"]
    np.testing.assert_array_equal(kernel, params["conv1"]["kernel"][:, :, :, ::-1] * tiny.data.pixel_std)


def refusal(found, config):
    with pytest.raises(UserError) as refused:
        found.params(config)
    return str(refused.value)


def test_arrays_of_another_network_are_refused_by_the_first_that_differs(tiny):
    _, found = foreign(tiny)
    tiny.net.layers = replaced(tiny.net.layers, "conv2", features=9)
    not_tiny = "FILE does not fit the tiny network:"
    shapes = "its conv2.weight has the shape (16, 12, 3, 3), not (18, 12, 3, 3)"
    assert refusal(found, tiny) == f"{not_tiny} {shapes}"
    tiny.net.layers = replaced(tiny.net.layers, "conv2", features=8)
    more = dataclasses.replace(
        found, arrays=found.arrays | {"bn.weight": np.zeros(3), "bn.bias": np.zeros(3)}
    )
    assert refusal(more, tiny) == f"{not_tiny} it also has bn.weight, bn.bias"
    del (less := dict(found.arrays))["fc6.bias"]
    missing = "it has no fc6.bias, but conv1.weight, conv1.bias, conv2.weight, ..."
    assert refusal(dataclasses.replace(found, arrays=less), tiny) == f"{not_tiny} {missing}"
    with pytest.raises(UserError, match=r"it has no fc8\.bias, but nothing"):
        dataclasses.replace(found, arrays={}).classes()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_elements_that_are_not_finite_are_refused(tiny, value):
    _, found = foreign(tiny)
    found.arrays["fc6.weight"][3, 4] = value
    assert refusal(found, tiny).startswith("FILE: fc6.weight has an element that is not finite")


def test_arrays_must_be_floats_of_any_precision(tiny):
    _, found = foreign(tiny)
    whole = found.arrays | {"conv1.bias": np.zeros(12, np.int64)}
    assert refusal(dataclasses.replace(found, arrays=whole), tiny).startswith("FILE: conv1.bias is int64")
    several = {"a": np.zeros(3, np.float16), "b": np.zeros(3, jax.numpy.bfloat16), "c": np.zeros(3)}
    assert {x.dtype.name for x in as_float32(several).values()} == {"float32"}
    assert as_float32({"a": np.zeros(3, np.int8)})["a"].dtype == np.int8


def test_a_layer_that_no_framework_has_is_a_bug(tiny):
    layers = with_classes(tiny.net.layers, 10)
    tiny.net.layers = (Local("conv1", features=6, kernel=3), *layers[1:])
    names = {x.name: (f"{x.name}.weight", f"{x.name}.bias") for x in layers if isinstance(x, Dense)}
    names["conv1"] = ("a", "b")
    found = Foreign("FILE", "a network", "tiny", {}, names, lambda x: x, np.zeros((8, 8, 3)))
    with pytest.raises(TypeError, match="no other framework has weights for Local"):
        found.params(tiny)
