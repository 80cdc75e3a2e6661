"""The generated PyTorch module: its text everywhere, and its training where PyTorch is installed."""

import re

import jax
import numpy as np
import pytest

from alexnet_jax import UserError, apply, export, get_config
from alexnet_jax.config.recipe import recipes
from alexnet_jax.layers import Classifier, Conv, Dense, Dropout, ReLU, with_classes
from alexnet_jax.net.model import Training
from alexnet_jax.weights import onnx_file, torch_module
from alexnet_jax.weights.export import _network
from alexnet_jax.weights.formats import FORMATS
from tests.conftest import CONFIGS, every_variant
from tests.weights.networks import network, views, with_layers
from tests.weights.runtimes import needs_torch, torch_network


def source(net, preprocessing=False):
    return torch_module.source(_network(net, preprocessing)).decode()


def modules(text):
    return re.findall(r"add_module\('(\w+)', (.*)\)\n", text)


def test_the_module_of_the_papers_network_has_its_layers():
    text = source(network("alexnet.py"))  # with a sixteenth of the channels
    found = dict(modules(text))
    assert "From RGB images, float (batch, 3, 224, 224), to logits (batch, 62)." in text
    assert found["conv1_padding"] == "nn.ZeroPad2d((0, 3, 0, 3))"
    assert found["conv1"] == "nn.Conv2d(3, 6, 11, stride=4)"
    assert found["norm1"] == "TowersNorm(2, 5, alpha=0.0005, beta=0.75, k=2.0)"
    assert found["pool1"] == "nn.MaxPool2d(3, 2)"
    assert found["conv2"] == "nn.Conv2d(6, 16, 5, padding=2, groups=2)"
    assert found["conv3"] == "nn.Conv2d(16, 24, 3, padding=1)"
    assert found["fc6_flatten"] == "nn.Flatten()"
    assert found["fc6"] == "nn.Linear(576, 256)"
    assert found["drop6"] == "nn.Dropout(0.5)"
    assert found["fc8"] == "nn.Linear(256, 62)"


def test_other_layers_are_those_of_pytorch():
    caffe = dict(modules(source(network("alexnet.py:caffe"))))
    assert caffe["norm1"] == "nn.LocalResponseNorm(5, alpha=0.0001, beta=0.75, k=1.0)"
    quick = dict(modules(source(network("cifar10.py:quick"))))
    assert quick["pool1"] == "nn.MaxPool2d(3, 2, ceil_mode=True)"
    assert quick["pool2"] == "nn.AvgPool2d(3, 2, ceil_mode=True, count_include_pad=False)"
    assert dict(modules(source(network("alexnet.py:source"))))["map_norm2"].startswith(
        "MapNorm(5, alpha=0.001"
    )


@pytest.mark.parametrize("preprocessing", [False, True])
def test_the_module_is_python_and_its_weights_are_the_arrays(preprocessing):
    for path in ("alexnet.py:source", "cifar10.py:quick"):
        net = network(path)
        text = source(net, preprocessing)
        compile(text, "module.py", "exec")
        assert max(map(len, text.splitlines())) <= 110
        with_weights = [name for name, call in modules(text) if re.match(r"nn\.(Conv2d|Linear)", call)]
        arrays = _network(net, preprocessing).arrays
        kinds = ("weight", "bias")
        assert [*arrays] == [f"{name}.{kind}" for name in with_weights for kind in kinds] + ["mean_image"]
        assert ("return super().forward(self.preprocess(images))" in text) == preprocessing


def test_names_are_quoted():
    """The names of layers and classes may come from a stranger's workdir."""
    evil = "'''\"\"\"); import os; os.abort(); #\n\u202e\udcff"
    net = with_layers((ReLU(evil), Classifier("fc", classes=3)), 1)
    object.__setattr__(net.data, "class_words", (evil, "b", "c"))
    text = source(net)
    tree = compile(text, "module.py", "exec")
    assert tree.co_names[:2] == ("__doc__", "torch") or "os" not in tree.co_names
    assert text.count(repr(evil)) == 2
    with pytest.raises(UserError, match=r"can't have the name of the layer 'a\.b'"):
        torch_module.check(with_layers((ReLU("a.b"), Classifier("fc", classes=3)), 1).config)


@pytest.mark.parametrize("recipe", [r for r in recipes() if r.verb == "train"], ids=lambda r: r.name)
def test_only_locally_connected_layers_are_refused(recipe):
    for path in every_variant(recipe):
        config = get_config(path)
        config.net.layers = with_classes(config.net.layers, 10)
        for name, form in FORMATS.items():
            if "local1" in path and name != "stablehlo":
                with pytest.raises(UserError, match="local3 is a Local layer, which PyTorch does not have"):
                    form.check(config)
            else:
                form.check(config)


def test_what_onnx_lacks_is_refused():
    config = get_config(f"{CONFIGS}/alexnet.py")
    config.net.layers = tuple(
        type(x)(x.name, window=4) if x.name == "norm2" else x for x in config.net.layers
    )
    torch_module.check(config)
    with pytest.raises(UserError, match="norm2 has a window of even size"):
        onnx_file.check(config)


@needs_torch
def test_dropout_while_training_is_that_of_our_training(tmp_path):
    """The mean and the deviation of logits over many masks are the same."""
    import torch

    for scale_at in ("test", "training"):
        layers = (
            Conv("conv1", features=4, kernel=5, stride=5),
            ReLU("relu1"),
            Dense("fc6", units=20),
            Dropout("drop6", rate=0.7, scale_at=scale_at),
            ReLU("relu6"),
            Classifier("fc", classes=5),
        )
        net = with_layers(layers, 2)
        images = np.repeat(np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8), 20_000, 0)
        seen = views(net, images)
        ours = np.asarray(apply(net.model, net.params, seen, training=Training(jax.random.key(0))))
        module = torch_network(export(net, "torch", tmp_path / "net.pth")).train()
        torch.manual_seed(0)
        with torch.inference_mode():
            theirs = module(torch.tensor(seen.transpose(0, 3, 1, 2))).numpy()
        for statistic in (np.mean, np.std):
            expected = statistic(ours, axis=0)
            assert np.abs(statistic(theirs, axis=0) - expected).max() < 0.05 * ours.std(axis=0).max()


@needs_torch
def test_a_layer_with_the_name_of_a_method_is_refused(tmp_path):
    net = with_layers((Conv("train", features=4, kernel=5), Classifier("fc", classes=5)), 1)
    with pytest.raises(UserError, match="PyTorch can't have a layer of this name: attribute 'train' already"):
        export(net, "torch", tmp_path / "net.pth")
    assert not list(tmp_path.iterdir())
