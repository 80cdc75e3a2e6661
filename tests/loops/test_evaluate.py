"""Error rates equal those of NumPy, for any batch size, mesh and number of networks."""

import dataclasses
from functools import partial

import jax
import numpy as np
import pytest

import alexnet_jax
from alexnet_jax import restore
from alexnet_jax.data.dataset import open_cache
from alexnet_jax.errors import RunError
from alexnet_jax.loops.evaluate import error_rates
from alexnet_jax.parallel.mesh import make_mesh
from alexnet_jax.training.restored import Restored
from tests.by_hand import probabilities


@pytest.fixture(scope="module")
def net(trained):
    return restore(trained)


@pytest.fixture(scope="module")
def cache(net):
    return open_cache(net.config.data, print)


@pytest.mark.parametrize(("batch_size", "shape"), [(7, (1, 1)), (360, (1, 1)), (50, (4, 1)), (64, (2, 2))])
def test_every_example_counts_once(trained, cache, batch_size, shape):
    mesh = make_mesh(*shape)
    net = restore(trained, mesh=mesh)
    result = error_rates([partial(net.log_probabilities, views=1)], cache, "test", 1, batch_size, mesh)
    probs = probabilities(net, cache.images["test"][:], 1)
    labels = cache.labels["test"]
    right = probs[np.arange(360), labels]
    rank = (probs > right[:, None]).sum(-1)
    assert (result.examples, result.split, result.views) == (360, "test", 1)
    assert result.top1_error == np.mean(rank >= 1)
    assert result.top5_error == np.mean(rank >= 5)
    assert result.loss == pytest.approx(-np.log(right).mean(), abs=1e-6)


def test_a_device_evaluates_a_limited_number_of_images_at_a_time(net, monkeypatch):
    """So one device can evaluate a run with a large batch on many devices."""
    sizes, log_probabilities = set(), Restored.log_probabilities

    def noted(self, images, views):
        sizes.add(len(images))
        return log_probabilities(self, images, views)

    expected = alexnet_jax.evaluate(net)
    monkeypatch.setattr(Restored, "log_probabilities", noted)
    monkeypatch.setattr("alexnet_jax.loops.evaluate._MOST_ON_A_DEVICE", 5)
    result = alexnet_jax.evaluate(net)
    assert sizes == {5}
    assert (result.top1_error, result.top5_error) == (expected.top1_error, expected.top5_error)


def test_an_ensemble_averages_probabilities(trained, cache):
    nets = [restore(trained, step=step) for step in (20, 40)]
    mesh = nets[0].mesh
    members = [partial(net.log_probabilities, views=10) for net in nets]
    result = error_rates(members, cache, "validation", 10, 64, mesh)
    each = [probabilities(net, cache.images["validation"][:], 10) for net in nets]
    probs = np.mean(each, axis=0)
    assert result.top1_error == np.mean(probs.argmax(-1) != cache.labels["validation"])
    right = probs[np.arange(144), cache.labels["validation"]]
    assert result.loss == pytest.approx(-np.log(right).mean(), rel=1e-5)


def test_a_diverged_network_has_no_error_rate(trained, cache):
    net = restore(trained)
    broken = dataclasses.replace(net, params=jax.tree.map(lambda x: x * np.nan, net.params))
    with pytest.raises(RunError, match="the loss on test is nan, so the network has diverged"):
        error_rates([partial(broken.log_probabilities, views=1)], cache, "test", 1, 64, net.mesh)


def test_evaluate_takes_workdirs_and_networks(trained):
    lines = []
    of_workdir = alexnet_jax.evaluate(trained, say=lines.append)
    assert lines == [
        f"reading the last checkpoint of {trained}",
        "evaluating 360 images of test, 1 view of each",
    ]
    net = alexnet_jax.restore(trained)
    of_net = alexnet_jax.evaluate(net)
    assert of_net.checkpoints == of_workdir.checkpoints == (alexnet_jax.Checkpoint(str(trained), 40),)
    assert of_net.top1_error == of_workdir.top1_error
    assert isinstance(of_net, alexnet_jax.Result)
    pair = alexnet_jax.evaluate([net, trained], "validation", step=20)
    assert pair.to_json()["checkpoints"] == [
        {"workdir": str(trained), "step": 40},
        {"workdir": str(trained), "step": 20},
    ]


def test_evaluate_refuses_wrong_arguments(trained, tmp_path):
    net = alexnet_jax.restore(trained)
    with pytest.raises(ValueError, match="views must be 1 or 10, not 5"):
        alexnet_jax.evaluate(net, views=5)
    with pytest.raises(ValueError, match="different meshes"):
        alexnet_jax.evaluate([net, alexnet_jax.restore(trained, mesh=make_mesh(2, 1))])
    with pytest.raises(ValueError, match="no network"):
        alexnet_jax.evaluate([])
    with pytest.raises(alexnet_jax.UserError, match="is no workdir"):
        alexnet_jax.evaluate(tmp_path / "nowhere")
    with pytest.raises(alexnet_jax.UserError, match="'dev'"):
        alexnet_jax.evaluate(net, "dev")
