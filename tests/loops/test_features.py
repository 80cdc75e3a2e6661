"""Features in files: their values, their names and labels, and files that resume after a kill."""

import dataclasses
import errno
import json
import os
import re
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import alexnet_jax
from alexnet_jax import RunError, UserError, files, restore
from alexnet_jax.cli.main import main
from alexnet_jax.data.dataset import open_cache
from alexnet_jax.data.images import square
from alexnet_jax.loops import activations
from alexnet_jax.parallel.mesh import data_mesh
from tests.conftest import error_lines
from tests.odd_images import broken


@pytest.fixture(scope="module")
def net(trained):
    return restore(trained, mesh=data_mesh())


@pytest.fixture(scope="module")
def cache(net):
    return open_cache(net.config.data, print)


@pytest.fixture
def folder(cache, tmp_path):
    """Save seventy images of the test split as files."""
    (tmp_path / "images").mkdir()
    for i, image in enumerate(cache.images["test"][:70]):
        Image.fromarray(image).save(tmp_path / "images" / f"{i:02}.png")
    return tmp_path / "images"


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("layer", "views"), [(None, 1), ("fc6", 1), ("relu6", 10), ("pool1", 1), ("fc8", 1)])
def test_a_file_holds_the_activations_of_image_files(trained, net, cache, folder, layer, views, tmp_path):
    save = tmp_path / "f.npy"
    flags = [f"--layer={layer}"] if layer else []
    args = ["features", f"--workdir={trained}", *flags, f"--views={views}", f"--save={save}", str(folder)]
    assert main(args) == 0
    found = np.load(save)
    expected = net.features(cache.images["test"][:70], layer, views)
    assert (found.dtype, found.shape) == (np.float32, expected.shape)
    close(found, expected)
    record = json.loads((tmp_path / "f.npy.json").read_text())
    assert record["names"] == sorted(str(path) for path in folder.iterdir())
    assert record["labels"] is None
    assert (record["layer"], record["views"]) == (layer or "input of fc8", views)
    assert (record["workdir"], record["step"]) == (str(trained), 40)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.npy", "f.npy.json", "images"]


@pytest.mark.parametrize("layer", ["fc6", "conv2"])
def test_parquet_has_a_row_for_each_example_of_a_split(trained, net, cache, layer, tmp_path, monkeypatch):
    monkeypatch.setattr("alexnet_jax.loops.feature_file._ROW_GROUP", 20_000)
    save = tmp_path / "f.parquet"
    args = ["features", f"--workdir={trained}", f"--layer={layer}", f"--save={save}", "--split=validation"]
    assert main(args) == 0
    table = pq.read_table(save)
    assert table.column_names == ["name", "label", "class", "features"]
    labels = cache.labels["validation"]
    assert table["name"].to_pylist() == [f"validation[{row}]" for row in range(len(labels))]
    assert table["label"].to_pylist() == labels.tolist()
    assert table["class"].to_pylist() == [str(label) for label in labels]
    expected = net.features(cache.images["validation"][:], layer)
    close(np.stack(table["features"].to_numpy()), expected.reshape(len(labels), -1))
    assert json.loads(table.schema.metadata[b"alexnet_jax"])["shape"] == list(expected.shape)
    assert pq.ParquetFile(save).num_row_groups == (2 if layer == "conv2" else 1)


def test_image_files_are_resized_as_the_network_was_trained(net, tmp_path):
    Image.new("RGB", (30, 8), "white").save(tmp_path / "wide.png")
    with Image.open(tmp_path / "wide.png") as image:
        image.paste("black", (0, 0, 10, 8))
        image.save(tmp_path / "wide.png")
    config = net.config.copy_and_resolve_references()
    for resize in ("crop", "squash"):
        config.data.resize = resize
        there = dataclasses.replace(net, config=config)
        alexnet_jax.features(there, tmp_path / f"{resize}.npy", tmp_path / "wide.png")
        expected, _ = square((tmp_path / "wide.png").read_bytes(), 8, resize)
        close(np.load(tmp_path / f"{resize}.npy"), net.features(expected[None]))
    assert not np.array_equal(np.load(tmp_path / "crop.npy"), np.load(tmp_path / "squash.npy"))


def test_labels_of_a_split_are_beside_the_file(net, cache, tmp_path):
    found = alexnet_jax.features(net, tmp_path / "f.npy")
    record = json.loads((tmp_path / "f.npy.json").read_text())
    assert record["labels"] == cache.labels["test"].tolist()
    assert record["class_names"] == list("0123456789")
    assert record["names"][:2] == ["test[0]", "test[1]"]
    assert found.shape == np.load(tmp_path / "f.npy").shape == (len(record["names"]), 32)
    assert found.images_per_second > 0


def test_images_that_cannot_be_read_have_no_row(trained, net, cache, folder, tmp_path, capfd):
    name, content = next(iter(broken().items()))
    (folder / f"33-{name}").write_bytes(content)
    (folder / "71.png").symlink_to("nowhere.png")
    save = tmp_path / "f.npy"
    assert main(["features", f"--workdir={trained}", f"--save={save}", str(folder)]) == 2
    complaints = error_lines(capfd.readouterr().err)
    assert [line.split(" is left out: ")[0] for line in complaints] == [
        f"alexnet-jax: {folder}/33-{name}", f"alexnet-jax: {folder}/71.png",
    ]  # fmt: skip
    close(np.load(save), net.features(cache.images["test"][:70]))
    record = json.loads((tmp_path / "f.npy.json").read_text())
    assert len(record["names"]) == 70
    assert list(record["left_out"]) == [f"{folder}/33-{name}", f"{folder}/71.png"]
    assert main(["features", f"--workdir={trained}", f"--save={save}", str(folder)]) == 2  # it is complete
    assert error_lines(capfd.readouterr().err) == complaints


@pytest.fixture
def one_batch(monkeypatch):
    """Let each call write one batch of sixteen images, and then fail."""
    monkeypatch.setattr(activations, "_AT_ONCE", 2)  # on each of eight devices
    monkeypatch.setattr("alexnet_jax.loops.feature_file._SAVE_EVERY", -1.0)

    def one(*args):
        yield next(activations.activations(*args))
        raise RuntimeError("stopped")

    def write(*args, **options):
        with monkeypatch.context() as patch:
            patch.setattr("alexnet_jax.loops.features.activations", one)
            with pytest.raises(RuntimeError, match="stopped"):
                alexnet_jax.features(*args, **options)

    return write


@pytest.mark.parametrize("name", ["f.npy", "f.parquet"])
def test_a_run_that_stopped_ends_with_the_same_bytes(net, folder, tmp_path, name, one_batch):
    (folder / "20.png").write_bytes(b"")
    whole, stopped = tmp_path / "whole" / name, tmp_path / "stopped" / name
    for path in (whole, stopped):
        path.parent.mkdir()
    alexnet_jax.features(net, whole, folder)
    said = []
    for turn in range(4):
        one_batch(net, stopped, folder, say=said.append)
        with stopped.with_name(f"{name}.part").open("ab") as file:  # a batch that was being written
            file.write(b"x" * (turn * 100))
        assert not stopped.exists()
    alexnet_jax.features(net, stopped, folder, say=said.append)
    assert said == [f"continuing {stopped} after {n} of 70 images" for n in (16, 32, 48, 64)]
    assert sorted(path.name for path in stopped.parent.iterdir()) == [name, f"{name}.json"]
    for path in whole.parent.iterdir():
        assert (stopped.parent / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_complete_file_is_not_computed_again(trained, net, folder, tmp_path, monkeypatch):
    first = alexnet_jax.features(trained, tmp_path / "f.npy", folder)
    monkeypatch.setattr("alexnet_jax.loops.features.activations", None)
    (tmp_path / "f.npy.part").touch()  # of a run that was killed just before its end
    said = []
    again = alexnet_jax.features(net, tmp_path / "f.npy", folder, say=said.append)
    assert said == [f"nothing to do: {tmp_path}/f.npy is complete"]
    assert again == dataclasses.replace(first, images_per_second=None)
    assert not (tmp_path / "f.npy.part").exists()


@pytest.mark.parametrize("complete", [False, True])
def test_features_of_other_layers_weights_or_images_are_not_mixed(net, folder, tmp_path, one_batch, complete):
    save = tmp_path / "f.npy"
    if complete:
        alexnet_jax.features(net, save, folder, layer="fc6")
    else:
        one_batch(net, save, folder, layer="fc6")
    before = {path: path.read_bytes() for path in tmp_path.glob("f.*")}
    params = jax.tree.map(lambda x: x * 2, net.params)
    for changed, options, message in (
        (net, {"layer": "relu6"}, "(its layer: fc6; asked for: relu6)"),
        (net, {"views": 10}, "(its views: 1; asked for: 10)"),
        (dataclasses.replace(net, params=params), {}, r"(its weights: step 40, "),
        (dataclasses.replace(net, step=30), {}, "; asked for: step 30, "),
    ):
        with pytest.raises(UserError, match=re.escape(message)):
            alexnet_jax.features(changed, save, folder, **{"layer": "fc6"} | options)
    os.utime(folder / "00.png", (1, 1))
    with pytest.raises(UserError, match="its images: 70 files"):
        alexnet_jax.features(net, save, folder, layer="fc6")
    assert {path: path.read_bytes() for path in tmp_path.glob("f.*")} == before


def test_files_of_others_are_kept(net, folder, tmp_path, one_batch):
    (tmp_path / "f.npy").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"f.npy exists, and f.npy.json beside it does not describe it"):
        alexnet_jax.features(net, tmp_path / "f.npy", folder)
    assert (tmp_path / "f.npy").read_bytes() == b"mine"
    one_batch(net, tmp_path / "g.npy", folder)
    lock = files.locked(tmp_path / "g.npy.lock", lambda: None)
    with lock, pytest.raises(UserError, match="another process writes"):
        alexnet_jax.features(net, tmp_path / "g.npy", folder)
    with (tmp_path / "g.npy.part").open("r+b") as file:
        file.truncate(200)
    with pytest.raises(UserError, match=r"g.npy.part is damaged \(it is truncated\): delete it"):
        alexnet_jax.features(net, tmp_path / "g.npy", folder)
    (tmp_path / "g.npy.part.json").write_text("{")
    with pytest.raises(UserError, match=r"g.npy.part.json is damaged: delete it"):
        alexnet_jax.features(net, tmp_path / "g.npy", folder)


def test_activations_must_be_finite(net, folder, tmp_path):
    nans = dataclasses.replace(net, params=jax.tree.map(lambda x: jnp.full_like(x, np.nan), net.params))
    with pytest.raises(RunError, match="are not finite, so the network has diverged: choose another"):
        alexnet_jax.features(nans, tmp_path / "f.npy", folder)


def test_a_full_disk_is_reported_in_one_line(trained, folder, tmp_path, monkeypatch, capfd):
    def fail(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("alexnet_jax.loops.feature_file.FeatureFile.add", fail)
    save = tmp_path / "f.npy"
    assert main(["features", f"--workdir={trained}", f"--save={save}", str(folder)]) == 1
    assert error_lines(capfd.readouterr().err) == [
        f"alexnet-jax: --save={save} can't be written: No space left on device"
    ]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--save=f.npy"], "PATH of an image or a folder of images, or --split=SPLIT, is missing"),
        (["--save=f.npy", "--split=test", "x.png"], "not both: remove 'x.png' or --split"),
        (["--save=f.npy", "x.png", "--config.data.source=folder:X"], "add --split=SPLIT, or remove it"),
        (["x.png"], "--save=FILE.npy or --save=FILE.parquet is missing"),
        (["x.png", "--save=f.npz"], "f.npz must end in .npy or .parquet"),
        (["x.png", "--save=nowhere/f.npy"], "--save=nowhere/f.npy can't be written"),
        (["x.png", "--save=f.npy", "--views=5"], "--views is 5"),
        (["x.png", "--save=f.npy", "--layer=relu7"], "no layer relu7 (did you mean relu6"),
        (
            ["x.png", "--save=f.npy", "--layer=fc9"],
            "; there are conv1, relu1, norm1, pool1, conv2, relu2, fc6",
        ),
        (["--split=dev", "--save=f.npy"], "no split 'dev': sklearn:digits has train, test, validation"),
        (["gs://bucket/x.png", "--save=f.npy"], "must be on a local disk"),
        (["x.png", "--save=gs://bucket/f.npy"], "gs://bucket/f.npy"),
        (["empty", "--save=f.npy"], "there are no images"),
    ],
)
def test_mistakes_are_refused_in_one_line(trained, args, message, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert main(["features", f"--workdir={trained}", *args]) == 2
    *_, line = error_lines(capfd.readouterr().err)
    assert message in line
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143)])
def test_the_same_command_continues_after_a_signal(trained, cache, tmp_path, number, status):
    (tmp_path / "images").mkdir()
    for i, image in enumerate(cache.images["train"][:600]):
        Image.fromarray(image).resize((1000, 1000)).save(tmp_path / "images" / f"{i:03}.bmp")
    whole, save = tmp_path / "whole.npy", tmp_path / "f.npy"
    command = [sys.executable, "-m", "alexnet_jax", "features", f"--workdir={trained}", "--views=10"]
    subprocess.run([*command, f"--save={whole}", tmp_path / "images"], check=True)
    stopped = subprocess.Popen(
        [*command, f"--save={save}", tmp_path / "images"], stderr=subprocess.PIPE, text=True
    )
    part = tmp_path / "f.npy.part"
    while not part.exists() or part.stat().st_size < 10_000:
        assert stopped.poll() is None
        time.sleep(0.01)
    stopped.send_signal(number)
    _, err = stopped.communicate()
    assert stopped.returncode == status
    if number == signal.SIGTERM:
        (line,) = error_lines(err)
        assert line.startswith("alexnet-jax: SIGTERM: the features computed so far are kept; resume with: ")
    subprocess.run([*command, f"--save={save}", tmp_path / "images"], check=True)
    assert save.read_bytes() == whole.read_bytes()
    assert (tmp_path / "f.npy.json").read_bytes() == (tmp_path / "whole.npy.json").read_bytes()
