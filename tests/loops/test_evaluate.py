"""Error rates against NumPy, whatever the batch size, the mesh or the number of nets."""

import dataclasses
import json
from functools import partial

import jax
import numpy as np
import pytest

import alexnet_jax
from alexnet_jax import UserError, apply, restore
from alexnet_jax.data.augment import fixed_views
from alexnet_jax.data.dataset import open_cache
from alexnet_jax.errors import RunError
from alexnet_jax.loops.evaluate import error_rates
from alexnet_jax.net.model import hidden
from alexnet_jax.parallel.mesh import make_mesh


@pytest.fixture(scope="module")
def net(trained):
    return restore(trained)


@pytest.fixture(scope="module")
def cache(net):
    return open_cache(net.config.data, print)


def softmax(logits):
    exp = np.exp(logits - logits.max(-1, keepdims=True))
    return exp / exp.sum(-1, keepdims=True)


def by_hand(net, images, views):
    """The average over the crops of the definition."""
    probs = []
    for top, left, mirrored in fixed_views(8, 8, 7, views, flip=net.config.data.flip):
        crop = (images.astype(np.float32) - net.data.mean_image)[:, top : top + 7, left : left + 7]
        crop = crop[:, :, ::-1] if mirrored else crop
        probs.append(softmax(np.asarray(apply(net.model, net.params, crop / 64))))
    return np.mean(probs, axis=0)


@pytest.mark.parametrize("views", [1, 10])
def test_probabilities_are_the_mean_over_the_views(net, cache, views):
    images = cache.images["test"][:9]
    probs = net.predict_proba(images, views=views)
    assert (probs.shape, probs.dtype) == ((9, 10), np.float32)
    np.testing.assert_allclose(probs.sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(probs, by_hand(net, images, views), rtol=1e-4, atol=1e-6)


def test_any_number_of_images_on_any_mesh(trained, net, cache):
    images = cache.images["test"][:5]
    elsewhere = restore(trained, mesh=make_mesh(2, 2))
    np.testing.assert_allclose(
        elsewhere.predict_proba(images), net.predict_proba(images), rtol=1e-5, atol=1e-7
    )


@pytest.mark.parametrize("shape", [(1, 1), (4, 1), (2, 2)])
def test_features_are_those_of_the_centre_on_any_mesh(trained, net, cache, shape):
    images = cache.images["test"][:9]
    centres = ((images.astype(np.float32) - net.data.mean_image) / 64)[:, :7, :7]
    expected = hidden(net.model, net.params, centres)
    found = restore(trained, mesh=make_mesh(*shape)).features(images)
    assert (found.shape, found.dtype) == ((9, 32), np.float32)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_no_images_have_no_rows(net):
    none = np.zeros((0, 8, 8, 3), np.uint8)
    assert net.predict_proba(none).shape == (0, 10)
    assert net.features(none).shape == (0, 32)


@pytest.mark.parametrize(
    ("images", "views", "message"),
    [
        (np.zeros((1, 8, 8, 3), np.float32), 1, "uint8 of shape"),
        (np.zeros((1, 7, 7, 3), np.uint8), 1, "uint8 of shape"),
        (np.zeros((1, 8, 8, 3), np.uint8), 5, "views must be 1 or 10"),
    ],
)
def test_wrong_images_are_refused(net, images, views, message):
    with pytest.raises(ValueError, match=message):
        net.predict_proba(images, views=views)


@pytest.mark.parametrize(("batch_size", "shape"), [(7, (1, 1)), (360, (1, 1)), (50, (4, 1)), (64, (2, 2))])
def test_every_example_counts_once(trained, cache, batch_size, shape):
    mesh = make_mesh(*shape)
    net = restore(trained, mesh=mesh)
    result = error_rates([partial(net.log_probabilities, views=1)], cache, "test", 1, batch_size, mesh)
    probs = by_hand(net, cache.images["test"][:], 1)
    labels = cache.labels["test"]
    right = probs[np.arange(360), labels]
    rank = (probs > right[:, None]).sum(-1)
    assert (result.examples, result.split, result.views) == (360, "test", 1)
    assert result.top1_error == np.mean(rank >= 1)
    assert result.top5_error == np.mean(rank >= 5)
    assert result.loss == pytest.approx(-np.log(right).mean(), abs=1e-6)


def test_an_ensemble_averages_probabilities(trained, cache):
    nets = [restore(trained, step=step) for step in (20, 40)]
    mesh = nets[0].mesh
    members = [partial(net.log_probabilities, views=10) for net in nets]
    result = error_rates(members, cache, "validation", 10, 64, mesh)
    each = [by_hand(net, cache.images["validation"][:], 10) for net in nets]
    probs = np.mean(each, axis=0)
    assert result.top1_error == np.mean(probs.argmax(-1) != cache.labels["validation"])
    right = probs[np.arange(144), cache.labels["validation"]]
    assert result.loss == pytest.approx(-np.log(right).mean(), rel=1e-5)


def test_a_diverged_net_has_no_error_rate(trained, cache):
    net = restore(trained)
    broken = dataclasses.replace(net, params=jax.tree.map(lambda x: x * np.nan, net.params))
    with pytest.raises(RunError, match="the loss on test is nan: the net has diverged"):
        error_rates([partial(broken.log_probabilities, views=1)], cache, "test", 1, 64, net.mesh)


def test_restored_knows_what_it_is(net):
    assert net.step == 40
    assert net.data.class_names == tuple("0123456789")
    assert net.config.net.towers == 2
    assert dataclasses.is_dataclass(net)
    assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(net.params))


def test_the_best_is_the_lowest_validation_error(trained):
    lines = map(json.loads, (trained / "metrics.jsonl").read_text().splitlines())
    errors = {r["step"]: r["top1_error"] for r in lines if r["kind"] == "eval"}
    assert errors[20] != errors[40]
    assert restore(trained, step="best").step == min(errors, key=errors.get)


def test_a_missing_workdir_is_a_line(tmp_path):
    with pytest.raises(UserError, match="is no workdir"):
        restore(tmp_path / "nowhere")


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


def test_evaluate_refuses_what_makes_no_sense(trained, tmp_path):
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
