"""Training, measuring and running a detector, from the command line."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from alexnet_jax.cli.main import main
from alexnet_jax.detection import extractor as extractors
from alexnet_jax.detection.detector import FORMAT, Description, Detector, load
from alexnet_jax.detection.regression import Regression
from alexnet_jax.detection.stored import held
from alexnet_jax.detection.svm import Linear
from alexnet_jax.layers import Classifier, Dense, ReLU
from tests.conftest import error_lines
from tests.detection.conftest import save_network


def train(network, data, out, *flags):
    return main(
        ["detect", "train", f"--workdir={network}", f"--data={data}", "--list=train", f"--out={out}", *flags]
    )


def pixels(path):
    with Image.open(path) as image:
        return np.array(image)


@pytest.fixture
def calls(monkeypatch):
    """Count the photographs whose features are computed, and stop like a kill at a given one."""
    counted = {"photographs": 0, "stop_at": None}
    compute = extractors.Extractor.__call__

    def counting(self, windows):
        if counted["photographs"] == counted["stop_at"]:
            raise KeyboardInterrupt
        counted["photographs"] += 1
        return compute(self, windows)

    monkeypatch.setattr(extractors.Extractor, "__call__", counting)
    return counted


def test_train_evaluate_and_predict(network, drawings, grid, tmp_path, capfd):
    out = tmp_path / "detector"
    assert train(network, drawings, out) == 0
    said = capfd.readouterr()
    assert "8 photographs, 8 objects, 2 classes" in said.err
    assert "peak memory" in said.out

    result = tmp_path / "result.json"
    evaluate = ["detect", "evaluate", f"--detector={out}", f"--data={drawings}", "--list=val"]
    assert main([*evaluate, f"--json={result}"]) == 0
    table = capfd.readouterr().out
    assert [line.split()[0] for line in table.splitlines()] == ["class", "disc", "square", "mean,"]
    found = json.loads(result.read_text())
    assert [each["class_name"] for each in found["classes"]] == ["disc", "square"]
    assert [each["objects"] for each in found["classes"]] == [4, 4]
    # Even random kernels distinguish red from blue. The grid has boxes that overlap by a half.
    assert found["mean"]["area"] > 0.5

    photograph = drawings / "JPEGImages" / "000008.jpg"
    predict = ["detect", "predict", f"--detector={out}", "--least_score=-9", str(photograph)]
    boxes, pictures = tmp_path / "boxes.json", tmp_path / "pictures"
    assert main([*predict, f"--json={boxes}", f"--save={pictures}"]) == 0
    printed = capfd.readouterr().out.splitlines()
    [record] = json.loads(boxes.read_text())
    assert printed[0] == record["path"] == str(photograph)
    assert len(printed) == 1 + len(record["objects"])
    scores = [each["score"] for each in record["objects"]]
    assert scores == sorted(scores, reverse=True)
    assert record["objects"][0]["class"] == "disc"
    before = pixels(photograph)
    height, width, _ = before.shape
    for x1, y1, x2, y2 in (each["box"] for each in record["objects"]):
        assert 0 <= x1 <= x2 <= width
        assert 0 <= y1 <= y2 <= height
    drawn = pixels(pictures / "00001_000008.png")
    assert drawn.shape == before.shape
    assert (drawn != before).any()


def test_a_run_that_was_stopped_continues_and_equals_one_that_was_not(
    network, drawings, grid, calls, tmp_path, capfd
):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(network, drawings, whole) == 0
    assert calls["photographs"] == 8
    proposals = len(grid)
    calls["stop_at"] = 11
    assert train(network, drawings, parts) == 130
    assert error_lines(capfd.readouterr().err)[-1] == "alexnet-jax: stopped"
    assert len(list((parts / "features" / "train").glob("*.npz"))) == 3
    calls["stop_at"] = None
    assert train(network, drawings, parts) == 0
    assert calls["photographs"] == 16
    assert len(grid) == 2 * proposals
    one, other = load(whole), load(parts)
    assert one.description == other.description
    for name in ("svms", "regression"):
        for a, b in zip(vars(getattr(one, name)).values(), vars(getattr(other, name)).values(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_detector_that_is_saved_replaces_a_device(tmp_path):
    (tmp_path / "detector.json").symlink_to("/dev/null")
    one = Detector(
        Description(FORMAT, ("a", "b"), "w", 3, None, "weights", 10),
        Linear(np.zeros((2, 3)), np.zeros(2)),
        Regression(np.zeros((2, 4, 5)), np.zeros((2, 4))),
    )
    one.save(tmp_path)
    assert load(tmp_path).description == one.description


def test_damaged_features_are_computed_again(network, drawings, grid, calls, tmp_path, capfd):
    assert train(network, drawings, tmp_path) == 0
    file = tmp_path / "features" / "train" / "000003.npz"
    content = file.read_bytes()
    middle = len(content) // 2
    file.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    assert train(network, drawings, tmp_path) == 1
    lines = error_lines(capfd.readouterr().err)
    assert "000003.npz is damaged and removed" in lines[-2]
    assert lines[-1].endswith("000003.npz is gone or was damaged: run the same command again")
    assert train(network, drawings, tmp_path) == 0
    assert calls["photographs"] == 9


def refusal(capfd):
    [line] = error_lines(capfd.readouterr().err)
    return line


def test_features_of_other_weights_photographs_and_windows_are_refused(
    network, drawings, grid, tmp_path, capfd
):
    out = tmp_path / "out"
    assert train(network, drawings, out) == 0
    capfd.readouterr()
    other = save_network(tmp_path / "other", seed=1)
    assert train(other, drawings, out) == 2
    line = refusal(capfd)
    assert "000000.npz belongs to weights " in line
    assert f"take another folder, or remove {out / 'features' / 'train'}" in line
    assert train(network, drawings, out, "--random_weights") == 2
    assert "belongs to weights " in refusal(capfd)
    assert train(network, drawings, out, "--max_proposals=7") == 2
    assert "000000.npz belongs to weights " in refusal(capfd)
    photograph = drawings / "JPEGImages" / "000001.jpg"
    before = photograph.read_bytes()
    Image.fromarray(pixels(photograph)[:, ::-1]).save(photograph)
    try:
        assert train(network, drawings, out) == 2
    finally:
        photograph.write_bytes(before)
    assert "000001.npz belongs to selective search" in refusal(capfd)


def test_random_weights_are_a_baseline_with_its_own_features(network, drawings, grid, tmp_path):
    assert train(network, drawings, tmp_path, "--random_weights") == 0
    description = load(tmp_path).description
    assert description.random_seed == 0
    evaluate = ["detect", "evaluate", f"--detector={tmp_path}", f"--data={drawings}", "--list=val"]
    assert main(evaluate) == 0


def test_a_network_that_was_moved_and_one_that_was_replaced(network, drawings, grid, tmp_path, capfd):
    mine, out = save_network(tmp_path / "mine", seed=3), tmp_path / "out"
    assert train(mine, drawings, out) == 0
    mine.rename(tmp_path / "moved")
    photograph = str(drawings / "JPEGImages" / "000008.jpg")
    predict = ["detect", "predict", f"--detector={out}", photograph]
    capfd.readouterr()
    assert main(predict) == 2
    assert "mine is no workdir" in refusal(capfd)
    assert main([*predict, f"--workdir={tmp_path / 'moved'}"]) == 0
    capfd.readouterr()
    assert main([*predict, f"--workdir={network}"]) == 2
    assert "has other weights at step 1 than the detector was trained with" in refusal(capfd)


def test_networks_that_do_not_fit_are_refused(drawings, grid, tmp_path, capfd):
    small = save_network(tmp_path / "small", crop=32)
    assert train(small, drawings, tmp_path / "out") == 2
    assert "sees 32x32 pixels, too few for detection" in refusal(capfd)
    layers = (Dense("fc1", units=4), ReLU("relu1"), Classifier("fc2", classes=3))
    flat = save_network(tmp_path / "flat", layers=layers)
    assert train(flat, drawings, tmp_path / "out") == 2
    assert "has no feature maps" in refusal(capfd)
    assert not (tmp_path / "out").exists()


def test_wrong_words_are_refused(network, drawings, grid, tmp_path, capfd):
    for args, message in (
        ([], "detect (nothing): write detect train, evaluate, predict"),
        (["tran"], "detect tran (did you mean train?): write detect train, evaluate, predict"),
        (["train"], "--workdir=DIR is missing"),
        (["evaluate", f"--detector={tmp_path}"], "--data=VOC2007 or --data=FILE.json is missing"),
        (["evaluate", f"--detector={tmp_path}", f"--data={drawings}"], f"there is no detector in {tmp_path}"),
        (["predict", f"--detector={tmp_path}"], "PATH of an image or a folder of images is missing"),
    ):
        assert main(["detect", *args]) == 2
        assert message in refusal(capfd)
    assert train(network, drawings, tmp_path, "--classes=disc,cow") == 2
    assert not any(tmp_path.iterdir())  # before any proposal was computed
    err = capfd.readouterr().err
    assert "class cow has no object that is not difficult: leave it out of --classes" in err
    assert "4 objects of unknown classes are left out; the first: 000001, class square" in err
    assert main(["detect", "--help"]) == 0
    assert "usage: alexnet-jax detect predict --detector=DIR" in capfd.readouterr().out


def test_a_photograph_of_another_size_than_its_annotations_is_refused(
    network, drawings, grid, tmp_path, capfd
):
    photograph = drawings / "JPEGImages" / "000002.jpg"
    before = photograph.read_bytes()
    Image.new("RGB", (33, 44)).save(photograph)
    try:
        assert train(network, drawings, tmp_path) == 2
    finally:
        photograph.write_bytes(before)
    assert "000002.jpg has 33x44 pixels, but its annotations are for " in refusal(capfd)


def test_two_processes_do_not_work_in_one_folder(network, drawings, grid, tmp_path, capfd):
    with held(tmp_path):
        assert train(network, drawings, tmp_path) == 2
    assert f"another process works in {tmp_path}" in refusal(capfd)
    (tmp_path / "link").symlink_to(tmp_path.parent)
    assert train(network, drawings, tmp_path) == 2
    assert "is a symbolic link" in refusal(capfd)


@pytest.mark.slow
def test_a_killed_process_continues_with_real_proposals(network, drawings, opencv, tmp_path):
    def start(out):
        flags = [f"--workdir={network}", f"--data={drawings}", "--list=train", "--max_proposals=300"]
        return subprocess.Popen(
            [sys.executable, "-m", "alexnet_jax", "detect", "train", *flags, f"--out={out}"]
        )

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert start(whole).wait(timeout=300) == 0
    for folder in ("proposals/train", "features/train"):  # killed in each of the two
        process = start(parts)
        while len(list((parts / folder).glob("*.npz"))) < 3:
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()
        process.wait(timeout=60)
    assert start(parts).wait(timeout=300) == 0
    for file in sorted(whole.rglob("*.npz")):
        with np.load(file) as expected, np.load(parts / file.relative_to(whole)) as found:
            for name in expected.files:
                np.testing.assert_array_equal(found[name], expected[name])
    assert (parts / "detector.json").read_text() == (whole / "detector.json").read_text()
    evaluate = ["detect", "evaluate", f"--detector={parts}", f"--data={drawings}", "--list=val"]
    assert main([*evaluate, f"--json={tmp_path / 'result.json'}"]) == 0
    assert json.loads((tmp_path / "result.json").read_text())["mean"]["area"] > 0.7
