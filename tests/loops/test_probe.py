"""The linear probe: its numbers by hand, its baselines, and what it refuses."""

import dataclasses
import json

import jax
import numpy as np
import pytest

import alexnet_jax
from alexnet_jax import UserError, init, restore
from alexnet_jax.cli.main import main
from alexnet_jax.data.dataset import open_cache
from alexnet_jax.loops import linear
from alexnet_jax.parallel.mesh import data_mesh, local_mesh
from tests.conftest import error_lines


@pytest.fixture(scope="module")
def net(trained):
    return restore(trained, mesh=data_mesh())


def test_accuracies_are_those_of_the_classifier_on_the_features(trained, net, tmp_path, capfd):
    out = tmp_path / "probe.json"
    flags = ["--layer=relu6", "--train_per_class=10", "--splits=2", "--seed=3", "--baselines"]
    assert main(["probe", f"--workdir={trained}", *flags, f"--json={out}"]) == 0
    cache = open_cache(net.config.data, print)
    images = np.concatenate([cache.images[split][:] for split in ("train", "test", "validation")])
    labels = np.concatenate([cache.labels[split] for split in ("train", "test", "validation")])
    splits = linear.random_splits(labels, tuple("0123456789"), 10, 2, seed=3)
    record = json.loads(out.read_text())
    learned, random, pixels = record["results"]
    drawn = dataclasses.replace(net, params=init(net.model, jax.random.key(3)), mesh=local_mesh())
    for result, features in (
        (learned, net.features(images, "relu6")),
        (random, drawn.features(images, "relu6")),
        (pixels, images.reshape(len(images), -1).astype(np.float32)),
    ):
        expected, of_classes = [], []
        for train, test in splits:
            right = linear.predictions(features, labels, (train, test), seed=3)[0] == labels[test]
            expected.append(right.mean())
            of_classes.append(np.mean([right[labels[test] == label].mean() for label in range(10)]))
        assert result["accuracy"]["splits"] == pytest.approx(expected, abs=0.003)
        assert result["class_accuracy"]["mean"] == pytest.approx(np.mean(of_classes), abs=0.003)
        error = abs(expected[0] - expected[1]) / 2  # of two values
        assert result["accuracy"]["standard_error"] == pytest.approx(error, abs=0.003)
    assert [result["features"] for result in record["results"]] == [
        "relu6", "relu6, random weights", "pixels, 8x8",
    ]  # fmt: skip
    assert [result["dimensions"] for result in record["results"]] == [32, 32, 192]
    assert (record["train"], record["test"], record["classes"]) == (100, 1697, 10)
    assert (record["workdir"], record["step"]) == (str(trained), 40)
    assert (record["layer"], record["views"], record["seed"]) == ("relu6", 1, 3)
    printed = capfd.readouterr().out
    assert "sklearn:digits: 10 classes, 100 images for training and 1,697 for the test; " in printed
    row = next(line for line in printed.splitlines() if line.startswith("relu6  "))
    mean, error = learned["accuracy"]["mean"], learned["accuracy"]["standard_error"]
    assert f"{100 * mean:.2f} ± {100 * error:.2f}%" in row


def test_the_same_seed_gives_the_same_result(net, trained):
    first, second = (
        alexnet_jax.probe(each, train_per_class=5, splits=1, baselines=True, say=lambda line: None)
        for each in (net, trained)
    )
    assert first.scores == second.scores
    other = alexnet_jax.probe(net, train_per_class=5, splits=1, seed=1, say=lambda line: None)
    assert other.scores[0].accuracy != first.scores[0].accuracy


def test_spatial_layers_are_flattened_and_views_averaged(net):
    found = alexnet_jax.probe(net, "conv2", 10, train_per_class=5, splits=1, say=lambda line: None)
    assert (found.scores[0].dimensions, found.views) == (2 * 2 * 16, 10)


def test_the_own_splits_of_the_data_are_used(trained, net, tmp_path, five_classes, cache_dir, capfd):
    (tmp_path / "photographs" / "test").symlink_to(tmp_path / "photographs" / "train")
    args = ["--splits=own", f"--config.data.source={five_classes}", f"--config.data.cache_dir={tmp_path}"]
    assert main(["probe", f"--workdir={trained}", *args, f"--json={tmp_path}/p.json"]) == 0
    record = json.loads((tmp_path / "p.json").read_text())
    assert (record["train"], record["test"], record["classes"]) == (50, 50, 5)
    assert record["results"][0]["accuracy"]["standard_error"] is None
    assert record["results"][0]["accuracy"]["mean"] > 0.5  # the test images are those for training


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--layer=fc9"], "there is no layer fc9"),
        (["--splits=0"], "--splits is 0, but must be a number from 1 to 1000, or own"),
        (["--splits=many"], "--splits is many"),
        (["--train_per_class=1"], "train_per_class"),
        (["--train_per_class=180"], " classes have fewer than 181 images (the first is 0 with 178)"),
        (["--train_per_class=20", "--splits=own"], "--train_per_class is for random splits: remove it"),
        (["--views=5"], "--views is 5"),
        (["--json=nowhere/p.json"], "--json=nowhere/p.json can't be written"),
        (["--config.data.crop_size=5"], "config.data.crop_size can't change after training: probe takes"),
        (["extra"], "probe takes only flags: remove 'extra'"),
    ],
)
def test_mistakes_are_refused_in_one_line(trained, args, message, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main(["probe", f"--workdir={trained}", *args]) == 2
    (line,) = error_lines(capfd.readouterr().err)
    assert message in line


def test_data_without_enough_images_or_a_split_for_the_test_is_refused(net, tmp_path, five_classes):
    data = {"source": five_classes, "cache_dir": str(tmp_path)}
    with pytest.raises(
        UserError, match=r"5 of the 5 classes have fewer than 11 images \(the first is a with"
    ):
        alexnet_jax.probe(net, train_per_class=10, data=data)
    config = net.config.copy_and_resolve_references()
    config.data.validation = 0.0
    with pytest.raises(UserError, match="has only images for training: take random splits, such as"):
        alexnet_jax.probe(dataclasses.replace(net, config=config), splits="own", data=data)


@pytest.mark.parametrize("options", [{"views": 2}, {"train_per_class": 1}, {"splits": 0}])
def test_wrong_numbers_are_refused(net, options):
    with pytest.raises(ValueError, match="must be"):
        alexnet_jax.probe(net, **options)
