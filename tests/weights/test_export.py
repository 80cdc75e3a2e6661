"""Exported networks give the logits of the network in the runtime of their format."""

import numpy as np
import pytest

from alexnet_jax import RunError, export, restore
from alexnet_jax.cli.main import main
from alexnet_jax.data.images import square
from alexnet_jax.layers import AvgPool, BatchNorm, Classifier, Conv, Dense, Dropout, MapNorm, MaxPool, ReLU
from alexnet_jax.weights.formats import FORMATS
from alexnet_jax.weights.rendering import MARK
from tests.conftest import error_lines
from tests.weights.networks import logits, network, views, with_layers
from tests.weights.runtimes import EVERY_RUNTIME, RUNTIMES

NETWORKS = (
    "alexnet.py",
    "cifar10.py:towers",
    "cifar10.py:towers,batch_norm",
    *(
        pytest.param(path, marks=pytest.mark.slow)
        for path in (
            "alexnet.py:source",
            "alexnet.py:owt",
            "alexnet.py:caffe",
            "alexnet.py:one_tower",
            "alexnet.py:silent_towers,tanh",
            "cifar10.py:quick",
            "cifar10.py:lrn18",
            "digits.py",
        )
    ),
)
"""Recipes that have every kind of layer but Local, and every exchange between towers."""


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def assert_same(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("preprocessing", [False, True])
@pytest.mark.parametrize("path", NETWORKS)
@pytest.mark.parametrize("to", EVERY_RUNTIME)
def test_photographs_have_the_same_logits(to, path, preprocessing, originals, tmp_path):
    net = network(path)
    size = net.config.data.image_size
    images = np.stack([square(file.read_bytes(), size)[0] for file in originals[::40]])
    done = export(net, to, tmp_path / f"net{FORMATS[to].ENDINGS[0]}", preprocessing=preprocessing)
    expected = logits(net, images)
    assert np.ptp(expected, axis=0).max() > 0.02 * np.abs(expected).max()  # the images differ enough
    given = images if preprocessing else views(net, images)
    for count in (3, 1):
        assert_same(RUNTIMES[to](done, given[:count]), expected[:count])
    if to != "safetensors":
        assert done.difference < 1e-5


ODD_LAYERS = {
    "windows that reach over the edge, and uneven padding": (
        Conv("conv1", features=4, kernel=4, stride=3, padding=(2, 0)),
        AvgPool("pool1", window=3, stride=2, ceil=True),
        ReLU("relu1"),
        MaxPool("pool2", window=2, stride=2, ceil=True),
        Classifier("fc", classes=5),
    ),
    "a map norm of even window, and tanh of what dropout has scaled": (
        Conv("conv1", features=4, kernel=3),
        MapNorm("norm1", window=4, alpha=0.1, beta=0.5),
        Dropout("drop1", rate=0.3),
        MaxPool("pool1"),
        Dropout("drop2", rate=0.2),
        Dense("fc6", units=6),
        ReLU("relu6"),
        Dense("fc7", units=4),
        Classifier("fc", classes=5),
    ),
    "batch normalization of pooled maps and of units": (
        Conv("conv1", features=4, kernel=3),
        MaxPool("pool1"),
        BatchNorm("norm1"),
        Dense("fc6", units=6),
        BatchNorm("norm6"),
        ReLU("relu6"),
        Classifier("fc", classes=5),
    ),
    "only a classifier": (AvgPool("pool1", window=5, stride=5), Classifier("fc", classes=5)),
}


@pytest.mark.parametrize("layers", ODD_LAYERS)
@pytest.mark.parametrize("towers", [1, 3])
@pytest.mark.parametrize("to", EVERY_RUNTIME)
def test_odd_layers(to, towers, layers, tmp_path):
    net = with_layers(ODD_LAYERS[layers], towers)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    done = export(net, to, tmp_path / f"net{FORMATS[to].ENDINGS[0]}", preprocessing=True)
    assert_same(RUNTIMES[to](done, images), logits(net, images))


@pytest.mark.parametrize("to", ["onnx", "stablehlo"])
def test_a_bfloat16_network_computes_in_float32(to, tmp_path):
    exact, rounded = network("cifar10.py:towers"), network("cifar10.py:towers", "bfloat16")
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    done = export(rounded, to, tmp_path / f"net.{to}", preprocessing=True)
    assert_same(RUNTIMES[to](done, images), logits(exact, images))
    with pytest.raises(AssertionError, match="Mismatched elements"):
        assert_same(logits(rounded, images), logits(exact, images))
    assert rounded.config.dtype == "bfloat16"


def test_nothing_is_written_if_the_logits_differ_or_are_not_finite(tmp_path, monkeypatch):
    net = network("digits.py")
    (tmp_path / "net.onnx").write_text("old")
    monkeypatch.setattr(FORMATS["onnx"], "logits", lambda files, images: np.ones((2, 3)))
    with pytest.raises(RunError, match="nothing is written: the logits would differ by"):
        export(net, "onnx", tmp_path / "net.onnx")
    net.params["fc8"]["bias"] = net.params["fc8"]["bias"] + np.nan
    with pytest.raises(RunError, match="logits of no_workdir at step 7 are not finite"):
        export(net, "onnx", tmp_path / "net.onnx")
    assert (tmp_path / "net.onnx").read_text() == "old"
    assert names(tmp_path) == ["net.onnx"]


def test_the_command_exports_a_checkpoint(trained, tmp_path, capfd):
    file = tmp_path / "net.onnx"
    flags = [f"--workdir={trained}", f"--save={file}", "--step=30"]
    assert main(["export", "--to=onnx", *flags]) == 0
    out, err = capfd.readouterr()
    path, same = out.splitlines()
    assert path.startswith(f"{file}: ")
    assert same.startswith("its logits are those of the network: the largest difference is ")
    assert error_lines(err) == []
    net = restore(trained, 30)
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    assert_same(
        RUNTIMES["onnx"](type("Done", (), {"paths": [file]}), views(net, images)), logits(net, images)
    )

    before = file.read_bytes()
    assert main(["export", "--to=onnx", *flags, "--preprocessing"]) == 0
    assert file.read_bytes() != before
    assert names(tmp_path) == ["net.onnx"]


def test_the_texts_beside_a_file_replace_only_their_like(trained, tmp_path, capfd):
    command = ["export", "--to=safetensors", f"--workdir={trained}", f"--save={tmp_path}/9-x.safetensors"]
    assert main(command) == 0
    assert names(tmp_path) == ["9-x.md", "9-x.safetensors", "_9_x_module.py"]
    assert main(command) == 0
    for name in ("9-x.md", "_9_x_module.py"):
        text = (tmp_path / name).read_text()
        (tmp_path / name).write_text(text.replace(MARK, ""))
        (tmp_path / "9-x.safetensors").write_text("kept")
        capfd.readouterr()
        assert main(command) == 2
        (line,) = error_lines(capfd.readouterr().err)
        assert f"{name} is not by alexnet-jax export: move it" in line
        assert (tmp_path / "9-x.safetensors").read_text() == "kept"
        (tmp_path / name).write_text(text)
