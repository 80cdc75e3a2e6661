"""`import` writes an ordinary workdir. A tiny network stands for those of other frameworks."""

import dataclasses

import numpy as np
import pytest

from alexnet_jax import UserError, evaluate, get_config, restore, torch_layout, train
from alexnet_jax.cli.main import main
from alexnet_jax.data.class_words import of_ilsvrc_2012
from alexnet_jax.training.workdir import read_workdir
from alexnet_jax.weights import imported
from alexnet_jax.weights.foreign import Foreign
from tests.conftest import RECIPES, error_lines

TINY = f"{RECIPES / 'tiny.py'}:no_dropout"


@pytest.fixture
def framework(trained, monkeypatch):
    """A framework whose only network is the trained one, with its layout of PyTorch."""
    net = restore(trained)
    config = get_config(TINY)
    arrays = torch_layout(net.params, net.config)  # with the factor of dropout
    names = {name: (f"{name}.weight", f"{name}.bias") for name in net.params}

    def read(file, mean):
        scale = config.data.pixel_std
        image = net.data.mean_image
        return Foreign(file, "the tiny network", TINY, arrays, names, lambda x: x / scale, image, ("A NOTE",))

    monkeypatch.setitem(imported.FRAMEWORKS, "tiny", read)
    return net


@pytest.fixture
def digits(tmp_path):
    """A file with the names of the classes."""
    (tmp_path / "digits.txt").write_text("\n".join(map(str, range(10))) + "\n\n")
    return str(tmp_path / "digits.txt")


def test_the_workdir_is_evaluated_restored_and_fine_tuned(framework, digits, tmp_path, cache_dir, capsys):
    w = tmp_path / "w"
    what = imported.import_weights("tiny", "WEIGHTS", w, classes=digits)
    count = sum(x.size for layer in framework.params.values() for x in layer.values())
    assert what == f"the tiny network, {count:,} parameters, 10 classes"
    assert capsys.readouterr().out.splitlines() == ["reading WEIGHTS", "note: A NOTE", f"writing {w}"]
    net = restore(w)
    assert (net.step, net.data.class_names) == (0, tuple("0123456789"))
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    np.testing.assert_allclose(
        net.predict_proba(images, views=10), framework.predict_proba(images, views=10), rtol=1e-4, atol=1e-6
    )
    assert net.features(images).shape == (5, 32)
    lines = []
    data = {"source": "sklearn:digits", "cache_dir": cache_dir}
    result = evaluate(w, data=data, say=lines.append)
    assert result.top1_error == evaluate(framework, data=data).top1_error
    assert not any("not the data" in line for line in lines)
    config = get_config(TINY)
    config.data.cache_dir, config.init_from, config.num_steps = cache_dir, str(w), 2
    train(config, tmp_path / "tuned")
    assert "conv1, conv2, fc6, fc8 taken" in capsys.readouterr().out
    config.init_from = None
    with pytest.raises(UserError, match=r"holds imported weights: .* add --config\.init_from="):
        train(config, w)


def test_the_workdir_may_be_in_a_bucket(framework, digits, bucket):
    imported.import_weights("tiny", "WEIGHTS", f"{bucket}/w", classes=digits)
    images = np.zeros((1, 8, 8, 3), np.uint8)
    np.testing.assert_allclose(
        restore(f"{bucket}/w").predict_proba(images), framework.predict_proba(images), rtol=1e-4
    )
    with pytest.raises(UserError, match=r"holds a run: take another --workdir"):
        imported.import_weights("tiny", "WEIGHTS", f"{bucket}/w", classes=digits)


def test_a_workdir_of_a_run_is_kept(framework, digits, trained):
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
    with pytest.raises(UserError, match=r"holds a run: take another --workdir"):
        imported.import_weights("tiny", "WEIGHTS", trained, classes=digits)
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("*")} == before


def test_the_same_command_completes_a_killed_import(framework, digits, tmp_path):
    w = tmp_path / "w"
    imported.import_weights("tiny", "WEIGHTS", w, classes=digits)
    intact = (w / "config.json").read_bytes()
    (w / "config.json").unlink()  # it is written last
    imported.import_weights("tiny", "WEIGHTS", w, classes=digits)
    assert (w / "config.json").read_bytes() == intact
    assert restore(w).step == 0


def test_an_import_replaces_the_weights_of_another_one_that_was_killed(
    framework, digits, tmp_path, monkeypatch
):
    w = tmp_path / "w"
    imported.import_weights("tiny", "WEIGHTS", w, classes=digits)
    (w / "config.json").unlink()
    other = framework.with_random_weights(seed=1)
    params = torch_layout(other.params, other.config)
    read = imported.FRAMEWORKS["tiny"]

    def changed(*args):
        return dataclasses.replace(read(*args), arrays=params)

    monkeypatch.setitem(imported.FRAMEWORKS, "tiny", changed)
    imported.import_weights("tiny", "OTHERS", w, classes=digits)
    images = np.zeros((1, 8, 8, 3), np.uint8)
    np.testing.assert_allclose(restore(w).predict_proba(images), other.predict_proba(images), rtol=1e-4)


def test_a_refused_import_writes_nothing(framework, tmp_path):
    with pytest.raises(UserError, match=r"WEIGHTS has 10 outputs, but ImageNet has 1,000 classes: add --cl"):
        imported.import_weights("tiny", "WEIGHTS", tmp_path / "w")
    (tmp_path / "nine.txt").write_text("\n".join("abcdefghi"))
    with pytest.raises(UserError, match=r"nine\.txt has 9 classes, but WEIGHTS has 10 outputs"):
        imported.import_weights("tiny", "WEIGHTS", tmp_path / "w", classes=f"{tmp_path}/nine.txt")
    with pytest.raises(UserError, match=r"--classes=.* can't be read: .* is not a regular file"):
        imported.import_weights("tiny", "WEIGHTS", tmp_path / "w", classes=f"{tmp_path}")
    assert not (tmp_path / "w").exists()


def test_the_classes_of_imagenet_are_those_of_its_sources():
    names, words = imported._classes(None, 1000, "WEIGHTS")
    assert names == tuple(of_ilsvrc_2012()) == tuple(sorted(names))  # as in tfds: and ilsvrc2012:
    assert (names[0], words[0]) == ("n01440764", "tench, Tinca tinca")
    config = imported._config("alexnet:owt", names)
    assert (config.data.source, config.net.layers[-1].classes) == ("tfds:imagenet2012", 1000)
    other = imported._config("alexnet:caffe", ("cat", "dog"))
    assert other.data.source.startswith("folder:")
    assert other.net.layers[-1].classes == 2


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "--from=torchvision or --from=caffe is missing"),
        (["--from=keras"], "value should be one of <torchvision|caffe>"),
        (["--from=caffe"], "--weights=FILE is missing"),
        (["--from=caffe", "--weights=W"], "--workdir=DIR is missing"),
        (["--from=caffe", "--weights=nothere", "--workdir=W"], "--weights=nothere is not a file: name one"),
        (["--from=caffe", "--weights=F", "--workdir=W", "--mean=no"], "--mean=no is not a file: name one"),
        (["--from=caffe", "--weights=gs://b/w", "--workdir=W"], "--weights gs://b/w"),
        (["--from=caffe", "--weights=F", "--workdir=W"], "F is damaged or no file of Caffe"),
        (
            ["--from=torchvision", "--weights=F.safetensors", "--workdir=W"],
            "is damaged or no safetensors file",
        ),
        (["--from=torchvision", "--weights=F", "--workdir=W", "--mean=F"], "--mean is for --from=caffe"),
    ],
)
def test_errors_are_one_line(tmp_path, monkeypatch, capsys, args, message):
    monkeypatch.chdir(tmp_path)
    for name in ("F", "F.safetensors"):
        (tmp_path / name).write_text("no weights")
    assert main(["import", *args]) == 2
    (line,) = error_lines(capsys.readouterr().err)
    assert message in line
    assert not (tmp_path / "W").exists()


def test_the_command_prints_what_it_imported(framework, digits, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(imported.FRAMEWORKS, "caffe", imported.FRAMEWORKS["tiny"])
    w = tmp_path / "a w"
    assert (
        main(["import", "--from=caffe", f"--weights={digits}", f"--classes={digits}", f"--workdir={w}"]) == 0
    )
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.endswith(f" 10 classes; classify images with: alexnet-jax predict '--workdir={w}' PATH")
    assert read_workdir(w)[1].class_names == tuple("0123456789")
    assert (
        main(["import", "--from=caffe", f"--weights={digits}", f"--classes={digits}", f"--workdir={w}"]) == 2
    )
