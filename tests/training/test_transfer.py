"""Starting from the layers of another network: which are taken, which are new, and what is refused."""

import json
import shutil

import jax
import numpy as np
import pytest

from alexnet_jax import UserError, init, restore
from alexnet_jax.layers import Conv, after, replaced, without
from alexnet_jax.loops.train import train
from alexnet_jax.net.draws import named_key


def initial_network(config, workdir):
    """Return the network that a run starts from."""
    config.num_steps, config.optimizer.learning_rate = 1, 0.0
    train(config, str(workdir))
    return restore(workdir)


def test_the_same_classes_take_every_layer(tiny, trained, tmp_path, capsys):
    tiny.init_from = str(trained)
    before, after = restore(trained).params, initial_network(tiny, tmp_path / "w").params
    for ours, theirs in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert f"starts from {trained}, step 40: conv1, conv2, fc6, fc8 taken\n" in capsys.readouterr().out


def test_other_classes_re_initialise_the_classifier(tiny, trained, five_classes, tmp_path, capsys):
    tiny.mesh, tiny.init_from, tiny.data.source, tiny.seed = (2, 2), str(trained), five_classes, 7
    tiny.net.layers = replaced(tiny.net.layers, "fc8", classes=0)
    before, after = restore(trained).params, initial_network(tiny, tmp_path / "w")
    for name in ("conv1", "conv2", "fc6"):
        for kind in ("kernel", "bias"):
            np.testing.assert_array_equal(before[name][kind], after.params[name][kind])
    assert after.params["fc8"]["kernel"].shape == (2, 16, 5)
    fresh = init(after.model, named_key(jax.random.key(7), "init"))["fc8"]
    np.testing.assert_array_equal(after.params["fc8"]["kernel"], fresh["kernel"])
    said = capsys.readouterr().out
    assert "conv1, conv2, fc6 taken; fc8 is re-initialised (5 classes instead of 10)\n" in said


def test_other_classes_re_initialise_a_classifier_of_the_same_size(
    tiny, trained, five_classes, tmp_path, capsys
):
    tiny.init_from, tiny.data.source = str(trained), five_classes  # fc8 has ten outputs still
    after = initial_network(tiny, tmp_path / "w").params
    assert not np.array_equal(after["fc8"]["kernel"], restore(trained).params["fc8"]["kernel"])
    assert "fc8 is re-initialised" in capsys.readouterr().out


def test_a_run_resumes_from_its_own_checkpoint_and_not_from_the_other_network(
    tiny, trained, tmp_path, capsys
):
    tiny.init_from, tiny.num_steps = str(trained), 10
    train(tiny, str(tmp_path / "w"))
    tiny.num_steps = 20
    capsys.readouterr()
    train(tiny, str(tmp_path / "w"))
    said = capsys.readouterr().out
    assert "resuming at step 10" in said
    assert "starts from" not in said


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            lambda net: replaced(net, "fc6", units=8),
            "Dense fc6 with units = 16, this run has Dense fc6 with units = 8",
        ),
        (lambda net: without(net, "conv2"), "it has Conv conv2, this run has ReLU relu2"),
        (lambda net: after(net, "relu2", Conv("conv3", 8, 1)), "it has Dense fc6, this run has Conv conv3"),
        (lambda net: without(net, "norm1"), "it has LRN norm1, this run has MaxPool pool1"),
    ],
)
def test_a_mismatch_in_another_layer_is_refused(tiny, trained, tmp_path, layers, message):
    tiny.init_from = str(trained)
    tiny.net.layers = layers(tiny.net.layers)
    with pytest.raises(UserError, match=f"{message}; only fc8 may differ"):
        train(tiny, str(tmp_path / "w"))
    assert not (tmp_path / "w").exists()


def test_initial_values_may_differ(tiny, trained, tmp_path):
    tiny.init_from = str(trained)
    tiny.net.layers = replaced(tiny.net.layers, "conv1", std=0.5)
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    found = initial_network(tiny, tmp_path / "w").predict_proba(images)
    np.testing.assert_array_equal(found, restore(trained).predict_proba(images))


@pytest.mark.parametrize("scale_at", [None, "training"])
def test_dropout_that_would_make_it_another_function_at_test_is_refused(tiny, trained, tmp_path, scale_at):
    """The trained network halves the input of fc8 at test time; these would not."""
    tiny.init_from = str(trained)
    net = tiny.net.layers
    tiny.net.layers = without(net, "drop6") if scale_at is None else replaced(net, "drop6", scale_at=scale_at)
    with pytest.raises(UserError, match="it has drop6's factor at test time, this run has nothing; only fc8"):
        train(tiny, str(tmp_path / "w"))
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("again", [None, "another"])
def test_a_run_that_was_killed_before_its_first_checkpoint_keeps_its_init_from(
    tiny, trained, tmp_path, again
):
    tiny.init_from = str(trained)
    workdir, other = tmp_path / "w", tmp_path / "another"
    initial_network(tiny, workdir)
    assert json.loads((workdir / "init_from.json").read_text()) == {"workdir": str(trained), "step": 40}
    shutil.rmtree(workdir / "checkpoints")
    shutil.copytree(trained, other)
    tiny.init_from = again and str(other)
    with pytest.raises(UserError, match=f"holds a run with init_from = {trained}, but the config has"):
        train(tiny, str(workdir))
    tiny.init_from = str(trained)
    train(tiny, str(workdir))
    assert restore(workdir).step == 1


def test_another_size_of_images_is_refused(tiny, trained, tmp_path):
    tiny.init_from, tiny.data.crop_size = str(trained), 8
    with pytest.raises(
        UserError, match=r"its fc6 has the shape \(2, \d+, 16\), this run has \(2, \d+, 16\); only"
    ):
        train(tiny, str(tmp_path / "w"))


def test_a_network_that_was_trained_on_other_pixels_is_refused(tiny, trained, tmp_path):
    tiny.init_from = str(trained)
    tiny.data.pixel_std *= 2
    with pytest.raises(UserError, match=r"it has data.pixel_std = .*trained on differently scaled pixels"):
        train(tiny, str(tmp_path / "w"))
    assert not (tmp_path / "w").exists()
