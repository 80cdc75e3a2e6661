"""Predictions for photographs, as text, as JSON and as a picture."""

import dataclasses
import json
import os
import pty
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import alexnet_jax
from alexnet_jax import restore
from alexnet_jax.cli.main import main
from alexnet_jax.data import images as image_files
from alexnet_jax.data.dataset import open_cache
from alexnet_jax.errors import RunError, UserError
from alexnet_jax.loops.predict import predict, predict_examples
from tests import odd_images
from tests.conftest import ODD_NAMES


@pytest.fixture
def digits(trained, tmp_path):
    """Save twenty images of the test split as files in two folders."""
    images = open_cache(restore(trained).config.data, print).images["test"][:20]
    for i, image in enumerate(images):
        path = tmp_path / "digits" / str(i % 2) / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return tmp_path / "digits", images


@pytest.mark.parametrize("views", [1, 10])
def test_guesses_are_the_five_most_probable_classes(trained, digits, views, tmp_path, capfd):
    folder, images = digits
    out = tmp_path / "out.json"
    assert main(["predict", f"--workdir={trained}", f"--views={views}", f"--json={out}", str(folder)]) == 0
    found = json.loads(out.read_text())
    assert [record["path"] for record in found] == sorted(str(path) for path in folder.rglob("*.png"))
    probabilities = restore(trained).predict_proba(np.concatenate([images[::2], images[1::2]]), views=views)
    for record, expected in zip(found, probabilities, strict=True):
        best = np.argsort(-expected)[:5]
        assert [guess["label"] for guess in record["top5"]] == best.tolist()
        assert [guess["name"] for guess in record["top5"]] == [str(i) for i in best]
        np.testing.assert_allclose([g["probability"] for g in record["top5"]], expected[best], rtol=1e-4)
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) == 20 * 6
    assert lines[0] == found[0]["path"]
    assert lines[1].split() == [f"{found[0]['top5'][0]['probability']:.2%}", found[0]["top5"][0]["name"]]


def test_python_takes_networks_and_workdirs(trained, digits):
    folder, _ = digits
    of_workdir, of_net = (list(predict(net, folder)) for net in (trained, restore(trained)))
    assert [each.guesses[0].label for each in of_workdir] == [each.guesses[0].label for each in of_net]
    assert "image=" not in repr(of_net[0])
    with pytest.raises(UserError, match="is no workdir"):
        predict(folder, folder)


def test_files_that_are_no_images_are_named_and_the_others_are_classified(trained, digits, tmp_path, capfd):
    folder, _ = digits
    (tmp_path / "empty").mkdir()
    for name, content in odd_images.broken().items():
        (tmp_path / name).write_bytes(content)
    wrong = [*(str(tmp_path / name) for name in odd_images.broken()), str(tmp_path / "nothing.jpg")]
    status = main(["predict", f"--workdir={trained}", *wrong, str(tmp_path / "empty"), f"{folder}/1"])
    out, err = capfd.readouterr()
    assert status == 2
    assert len(out.splitlines()) == 10 * 6
    first, *complaints = err.splitlines()
    assert first == f"reading the last checkpoint of {trained}"
    assert len(complaints) == len(wrong) + 1
    assert all(line.startswith("alexnet-jax: ") for line in complaints)
    for path in wrong:
        assert f"alexnet-jax: {path} is left out: " in err
    assert f"alexnet-jax: {tmp_path}/empty has no images" in err
    assert "nothing.jpg is left out: No such file" in err


def test_nothing_waits_for_a_pipe_or_reads_folders_that_link_to_each_other_twice(trained, digits, capfd):
    folder, _ = digits
    os.mkfifo(folder / "pipe.png")
    (folder / "0" / "other").symlink_to(folder / "1")
    (folder / "1" / "other").symlink_to(folder / "0")
    assert main(["predict", f"--workdir={trained}", str(folder), "/dev/zero"]) == 2
    out, err = capfd.readouterr()
    assert len(out.splitlines()) == 20 * 6
    complaints = [line for line in err.splitlines() if line.startswith("alexnet-jax: ")]
    assert complaints == [
        f"alexnet-jax: {name} is left out: not a regular file" for name in (folder / "pipe.png", "/dev/zero")
    ]


def test_names_of_files_do_not_control_the_terminal(trained, digits, tmp_path, capfd):
    folder, _ = digits
    image = folder / "0" / "a\x1b[31m\nb\N{RIGHT-TO-LEFT OVERRIDE}.png"
    broken = folder / "0" / "two\nlines\x07.png"
    (folder / "0" / "00.png").rename(image)
    broken.touch()
    out = tmp_path / "out.json"
    save = tmp_path / "p.png"
    args = ["predict", f"--workdir={trained}", f"--json={out}", f"--save={save}", str(image), str(broken)]
    assert main(args) == 2
    captured = capfd.readouterr()
    assert captured.out.splitlines()[0] == rf"{folder}/0/a\x1b[31m\nb\u202e.png"
    assert len(captured.out.splitlines()) == 6
    assert rf"alexnet-jax: {folder}/0/two\nlines\x07.png is left out: " in captured.err
    assert [record["path"] for record in json.loads(out.read_text())] == [str(image)]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_paths_may_have_any_characters(trained, digits, name, monkeypatch, capfd):
    folder, images = digits
    monkeypatch.chdir(folder)
    (folder / "1").rename(name)
    Image.fromarray(images[0]).save(folder / f"{name}.png")
    assert main(["predict", f"--workdir={trained}", "--", name, f"{name}.png"]) == 0
    assert len(capfd.readouterr().out.splitlines()) == 11 * 6


def test_every_kind_of_image_is_classified(trained, tmp_path, capfd):
    for name, (content, _) in odd_images.good().items():
        (tmp_path / name).write_bytes(content)
    assert main(["predict", f"--workdir={trained}", str(tmp_path)]) == 0
    assert len(capfd.readouterr().out.splitlines()) == 6 * len(odd_images.good())


def test_examples_of_a_data_set_have_a_right_class(trained):
    net = restore(trained)
    cache = open_cache(net.config.data, print)
    rows = np.array([7, 3, 200])
    found = predict_examples(net, cache, "test", rows, views=10)
    assert [prediction.path for prediction in found] == ["test[7]", "test[3]", "test[200]"]
    labels = cache.labels["test"][rows]
    probabilities = net.predict_proba(cache.images["test"][rows], views=10)
    for prediction, label, expected in zip(found, labels, probabilities, strict=True):
        assert (prediction.right.label, prediction.right.name) == (label, str(label))
        assert prediction.right.probability == expected[label]
        assert [guess.label for guess in prediction.guesses] == np.argsort(-expected)[:5].tolist()


def test_a_picture_of_images_and_bars(trained, digits, tmp_path, capfd):
    folder, _ = digits
    (folder / "0" / "00.png").rename(folder / "0" / r"a name $\that is$ no formula.png")
    assert main(["predict", f"--workdir={trained}", f"--save={tmp_path}/p.png", f"{folder}/0"]) == 0
    with Image.open(tmp_path / "p.png") as picture:
        assert picture.format == "PNG"
        assert picture.height > picture.width > 1000  # ten images, four in a row
        assert len(np.unique(np.asarray(picture.convert("L")))) > 50


def test_a_picture_shows_the_first_images_if_there_are_too_many(trained, digits, tmp_path, capfd):
    folder, _ = digits
    out, picture = tmp_path / "out.json", tmp_path / "p.png"
    command = ["predict", f"--workdir={trained}", f"--save={picture}", f"--json={out}", *[str(folder)] * 3]
    assert main(command) == 0
    captured = capfd.readouterr()
    assert len(captured.out.splitlines()) == 60 * 6
    assert len(json.loads(out.read_text())) == 60
    assert f"alexnet-jax: note: {picture} shows the first 48 of 60 images\n" in captured.err
    with Image.open(picture) as drawn:
        assert drawn.height > 2 * drawn.width  # twelve rows of four


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["x.jpg"], "--workdir=DIR is missing"),
        (["--workdir=W"], "PATH of an image or a folder of images is missing"),
        (["--workdir=W", "x.jpg"], "W is no workdir"),
        (["--workdir=W", "x.jpg", "--views=3"], "--views is 3"),
        (["--workdir=W", "x.jpg", "--save=/nowhere/p.png"], "--save=/nowhere/p.png can't be written"),
        (["--workdir=W", "x.jpg", "--save=p.txt"], "--save=p.txt must end in .png"),
        (["--workdir=W", "x.jpg", "--config.seed=1"], "predict takes no --config.KEY=VALUE"),
    ],
)
def test_mistakes_are_reported_in_one_line(args, message, capfd):
    assert main(["predict", *args]) == 2
    assert message in capfd.readouterr().err


def test_a_terminal_shows_bars(trained, digits):
    folder, _ = digits
    parent, child = pty.openpty()
    done = subprocess.Popen(
        [sys.executable, "-m", "alexnet_jax", "predict", f"--workdir={trained}", f"{folder}/0/00.png"],
        stdout=child,
    )
    assert done.wait(timeout=120) == 0
    os.close(child)
    text = os.read(parent, 10_000).decode()
    os.close(parent)
    assert "█" in text


def test_wrong_views_are_refused_before_the_first_image(trained):
    with pytest.raises(ValueError, match="views must be 1 or 10, not 3"):
        alexnet_jax.predict(restore(trained), [], views=3)


def test_predict_takes_one_path_or_several(trained, tmp_path, capsys):
    net = alexnet_jax.restore(trained)
    for i, image in enumerate(open_cache(net.config.data, print).images["test"][:3]):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    capsys.readouterr()
    paths = sorted(tmp_path.glob("*.png"))
    several = list(alexnet_jax.predict(net, paths))
    assert [prediction.path for prediction in several] == [str(path) for path in paths]
    assert [p.guesses for p in alexnet_jax.predict(net, tmp_path)] == [p.guesses for p in several]
    (one,) = alexnet_jax.predict(net, str(paths[1]))
    assert one.path == str(paths[1])
    assert list(alexnet_jax.predict(net, tmp_path / "nothing.png")) == []
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"alexnet-jax: {tmp_path}/nothing.png is left out: No such file or directory\n"


@pytest.mark.parametrize("value", [np.nan, 1e30])
def test_a_network_that_has_diverged_has_no_predictions(trained, digits, value):
    net = restore(trained)
    net = dataclasses.replace(net, params=jax.tree.map(lambda x: jnp.full_like(x, value), net.params))
    with pytest.raises(RunError, match="are not finite, so the network has diverged: choose another"):
        next(predict(net, digits[0]))
    cache = open_cache(net.config.data, print)
    with pytest.raises(RunError, match="are not finite"):
        predict_examples(net, cache, "test", np.arange(3), 1)


def test_a_picture_replaces_a_link(trained, digits, tmp_path, capfd):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "a.png").symlink_to("mine")
    assert main(["predict", f"--workdir={trained}", f"--save={tmp_path}/a.png", f"{digits[0]}/0/00.png"]) == 0
    assert (tmp_path / "mine").read_text() == "mine"
    assert not (tmp_path / "a.png").is_symlink()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_photographs_in_a_folder_whose_decoder_is_missing_are_named(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(image_files, "_heif", lambda: False)
    image_files.missing_decoder.cache_clear()
    (tmp_path / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    complaints = []
    assert list(alexnet_jax.predict(restore(trained), tmp_path, complain=complaints.append)) == []
    image_files.missing_decoder.cache_clear()
    need = "HEIC, which needs pip install -e '.[heic]'"
    assert complaints == [f"{tmp_path}/photo.heic is left out: {need}"]


def test_an_image_for_which_the_memory_does_not_suffice_is_named(trained, tmp_path, monkeypatch):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")

    def fail(*args):
        raise MemoryError

    monkeypatch.setattr("alexnet_jax.loops.predict.square", fail)
    said = []
    assert list(predict(restore(trained), tmp_path / "a.png", complain=said.append)) == []
    assert said == [f"{tmp_path / 'a.png'} is left out: too little memory"]
