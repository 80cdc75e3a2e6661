"""A network that is read back: its probabilities and features on any mesh, and what it refuses."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from alexnet_jax import UserError, restore
from alexnet_jax.data.augment import fixed_views
from alexnet_jax.data.dataset import open_cache
from alexnet_jax.layers import replaced
from alexnet_jax.net.model import hidden
from alexnet_jax.parallel.mesh import make_mesh
from alexnet_jax.training.restored import check_alike
from tests.by_hand import probabilities


@pytest.fixture(scope="module")
def net(trained):
    return restore(trained)


@pytest.fixture(scope="module")
def cache(net):
    return open_cache(net.config.data, print)


@pytest.mark.parametrize("views", [1, 10])
def test_probabilities_are_the_mean_over_the_views(net, cache, views):
    images = cache.images["test"][:9]
    probs = net.predict_proba(images, views=views)
    assert (probs.shape, probs.dtype) == ((9, 10), np.float32)
    np.testing.assert_allclose(probs.sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(probs, probabilities(net, images, views), rtol=1e-4, atol=1e-6)


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


@pytest.mark.parametrize("shape", [(4, 1), (2, 2)])
@pytest.mark.parametrize("layer", ["conv1", "pool1", "relu2", "fc6", "relu6", "drop6", "fc8"])
def test_the_activations_of_any_layer_are_the_same_on_any_mesh(trained, net, cache, layer, shape):
    images = cache.images["test"][:9]
    centres = ((images.astype(np.float32) - net.data.mean_image) / 64)[:, :7, :7]
    expected = hidden(net.model, net.params, centres, layer)
    there = restore(trained, mesh=make_mesh(*shape))
    found = there.features(images, layer)
    assert (found.shape, found.dtype) == (expected.shape, np.float32)
    assert there.feature_shape(layer) == expected.shape[1:]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_features_of_ten_views_are_their_mean(net, cache):
    images = cache.images["test"][:5]
    expected = []
    for top, left, mirrored in fixed_views(8, 8, 7, 10, flip=net.config.data.flip):
        crop = (images.astype(np.float32) - net.data.mean_image)[:, top : top + 7, left : left + 7]
        expected.append(hidden(net.model, net.params, (crop[:, :, ::-1] if mirrored else crop) / 64, "relu2"))
    found = net.features(images, "relu2", views=10)
    np.testing.assert_allclose(found, np.mean(expected, axis=0), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="views must be 1 or 10"):
        net.features(images, views=2)


def test_an_unknown_layer_is_refused_with_the_names_that_exist(net):
    names = "conv1, relu1, norm1, pool1, conv2, relu2, fc6, relu6, drop6, fc8"
    with pytest.raises(UserError, match=rf"no layer fc7 \(did you mean fc8 or fc6\?\); there are {names}"):
        net.features(np.zeros((1, 8, 8, 3), np.uint8), "fc7")


def test_an_empty_batch_gives_an_empty_result(net):
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


def test_a_restored_network_has_its_step_data_and_config(net):
    assert net.step == 40
    assert net.data.class_names == tuple("0123456789")
    assert net.config.net.towers == 2
    assert dataclasses.is_dataclass(net)
    assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(net.params))


def test_the_best_checkpoint_has_the_lowest_validation_error(trained):
    lines = map(json.loads, (trained / "metrics.jsonl").read_text().splitlines())
    errors = {r["step"]: r["top1_error"] for r in lines if r["kind"] == "eval"}
    lowest = [step for step, error in errors.items() if error == min(errors.values())]
    assert restore(trained, step="best").step == max(lowest)


def test_a_missing_workdir_is_refused_in_one_line(tmp_path):
    with pytest.raises(UserError, match="is no workdir"):
        restore(tmp_path / "nowhere")


def test_networks_that_cannot_be_averaged_are_named(net):
    check_alike([net, net], net.data)
    size = dataclasses.replace(net.data, image_size=(9, 9))
    with pytest.raises(UserError, match=rf"{net.workdir} takes images of \(8, 8\), not \(9, 9\)"):
        check_alike([net], size)
    names = dataclasses.replace(net.data, class_names=net.data.class_names[::-1])
    with pytest.raises(UserError, match=f"{net.workdir} was trained on other classes than sklearn:digits"):
        check_alike([net], names)
    config = net.config.copy_and_resolve_references()
    config.net.layers = replaced(config.net.layers, "fc8", classes=12)
    wider = dataclasses.replace(net, config=config, workdir="wider")
    with pytest.raises(UserError, match=f"wider has another number of outputs than {net.workdir}"):
        check_alike([net, wider], net.data)
    config = net.config.copy_and_resolve_references()
    config.data.resize = "squash"
    squashed = dataclasses.replace(net, config=config, workdir="squashed")
    with pytest.raises(UserError, match=r"squashed takes images with data\.resize = squash, not crop"):
        check_alike([net, squashed], net.data)
