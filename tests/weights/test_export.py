"""Exported networks give the logits of the network in the runtime of their format."""

import numpy as np
import onnxruntime
import pytest
from jax import export as jax_export

from alexnet_jax import export
from alexnet_jax.data.images import square
from tests.weights.networks import logits, network, views

NETWORKS = (
    "alexnet.py",
    "alexnet.py:source",
    "alexnet.py:owt",
    "alexnet.py:caffe",
    "alexnet.py:one_tower",
    "alexnet.py:silent_towers,tanh",
    "cifar10.py:quick",
    "cifar10.py:lrn18",
    "cifar10.py:towers",
    "digits.py",
)
"""Recipes that have every kind of layer but Local, and every exchange between towers."""


def in_onnx(file, images):
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    assert [(x.name, x.shape[0]) for x in session.get_inputs()] == [("images", "batch")]
    return session.run(["logits"], {"images": images.transpose(0, 3, 1, 2)})[0]


def in_stablehlo(file, images):
    return jax_export.deserialize(bytearray(file.read_bytes())).call(images)


@pytest.fixture
def photographs(originals):
    """A function that returns three photographs of a size."""
    return lambda net: np.stack([square(x.read_bytes(), *net.data.image_size[:1])[0] for x in originals[::40]])


@pytest.mark.parametrize("preprocessing", [False, True])
@pytest.mark.parametrize("path", NETWORKS)
@pytest.mark.parametrize(("to", "run"), [("onnx", in_onnx), ("stablehlo", in_stablehlo)])
def test_logits_of_photographs(to, run, path, preprocessing, photographs, tmp_path):
    net = network(path)
    images = photographs(net)
    done = export(net, to, tmp_path / f"net.{to}", preprocessing=preprocessing)
    expected = logits(net, images)
    given = images if preprocessing else views(net, images)
    for count in (3, 1):
        found = run(tmp_path / f"net.{to}", given[:count])
        np.testing.assert_allclose(found, expected[:count], rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    assert done.difference < 1e-5
