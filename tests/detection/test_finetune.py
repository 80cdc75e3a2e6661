"""Fine-tuning on windows: what a batch holds, and that a stopped run continues to the same bits."""

import jax
import numpy as np
import pytest

from alexnet_jax import restore
from alexnet_jax.cli.main import main
from alexnet_jax.detection import finetune as module
from alexnet_jax.detection.annotations import Photograph, read_annotations
from alexnet_jax.detection.examples import Example, examples
from alexnet_jax.detection.extractor import extractor
from alexnet_jax.detection.finetune import BACKGROUND, POSITIVES, finetune
from alexnet_jax.errors import Interrupted, UserError
from alexnet_jax.parallel.signals import Signals


@pytest.fixture
def windows(drawings, grid, tmp_path):
    annotated = read_annotations([str(drawings)], lists=["train"])
    return examples(annotated.photographs, tmp_path / "proposals", 60, True, print)


def run(network, windows, workdir, steps=5):
    return finetune(extractor(restore(network)), windows, ("disc", "square"), steps, workdir, print)


def test_it_trains_a_classifier_of_the_classes_and_the_background(network, windows, tmp_path):
    tuned = run(network, windows, tmp_path / "run")
    assert tuned.step == 5
    assert tuned.data.class_names == ("disc", "square", "background")
    assert tuned.data.image_size == (64, 64)
    assert tuned.params["fc8"]["bias"].shape == (1, 3)
    before = restore(network).params
    assert tuned.params["conv1"]["kernel"].shape == before["conv1"]["kernel"].shape
    changed = np.abs(
        np.asarray(tuned.params["conv1"]["kernel"]) - np.asarray(before["conv1"]["kernel"])
    ).max()
    assert 0 < changed < 0.1
    # A run at its end trains no more.
    again = run(network, windows, tmp_path / "run")
    assert again.step == 5


@pytest.mark.parametrize("at", [3, 5])  # in the middle, and after the last step
def test_a_stopped_run_continues_to_the_same_bits(network, windows, at, tmp_path, monkeypatch):
    whole = run(network, windows, tmp_path / "whole")

    class Stops(Signals):
        def stop_after(self, step):
            if step == at:
                self.stop()
            return super().stop_after(step)

    monkeypatch.setattr(module, "Signals", Stops)
    with pytest.raises(Interrupted, match=f"saved at step {at} of 5"):
        run(network, windows, tmp_path / "parts")
    monkeypatch.setattr(module, "Signals", Signals)
    parts = run(network, windows, tmp_path / "parts")
    jax.tree.map(np.testing.assert_array_equal, parts.params, whole.params)


def test_other_windows_are_refused(network, windows, tmp_path):
    run(network, windows, tmp_path / "run")
    with pytest.raises(UserError, match="was fine-tuned on other windows: take another --out"):
        run(network, windows[:-1], tmp_path / "run")


def test_fewer_steps_than_the_run_has_are_refused(network, windows, tmp_path):
    run(network, windows, tmp_path / "run")
    before = (tmp_path / "run" / "config.json").read_bytes()
    with pytest.raises(
        UserError, match="run is at step 5, but --finetune_steps is 4: raise it, or take another"
    ):
        run(network, windows, tmp_path / "run", steps=4)
    assert (tmp_path / "run" / "config.json").read_bytes() == before


def test_a_batch_has_32_windows_of_objects_and_96_of_background():
    """Windows that overlap a difficult object most belong to neither."""
    boxes = np.array([[0.0, 0, 40, 40], [60, 60, 100, 100]])
    photograph = Photograph("a", "a", (100, 100), boxes, np.array([1, 0]), np.array([False, True]))
    proposals = np.array([[0, 0, 40, 30], [0, 0, 40, 15], [60, 60, 100, 95], [30, 0, 70, 30]])
    example = Example(photograph, np.concatenate([boxes, proposals]).astype(np.float32), 2, 0)
    labelled = module._labelled([example], 2)
    assert labelled.tolist() == [[0, 0, 1], [0, 2, 1], [0, 3, 2], [0, 5, 2]]

    class Numbered:
        def windows(self, fill, rows):
            return np.broadcast_to(rows[:, None, None, None], (len(rows), *fill.shape)).astype(np.uint8)

    fill = np.zeros((4, 4, 3), np.uint8)
    images, labels = module._batch([Numbered()], labelled, 2, fill, step=7)
    assert np.bincount(labels).tolist() == [0, POSITIVES, BACKGROUND]
    assert {(int(image[0, 0, 0]), int(label)) for image, label in zip(images, labels, strict=True)} == {
        (0, 1), (2, 1), (3, 2), (5, 2),
    }  # fmt: skip
    again = module._batch([Numbered()], labelled, 2, fill, step=7)
    np.testing.assert_array_equal(again[0], images)
    assert (module._batch([Numbered()], labelled, 2, fill, step=8)[0] != images).any()
    with pytest.raises(UserError, match="there are no windows without objects"):
        module._labelled([Example(photograph, boxes.astype(np.float32), 2, 0)], 2)


def test_the_command_fine_tunes_before_it_trains_the_svms(network, drawings, grid, tmp_path, capfd):
    out = tmp_path / "out"
    command = [
        "detect",
        "train",
        f"--workdir={network}",
        f"--data={drawings}",
        "--list=train",
        f"--out={out}",
    ]
    assert main([*command, "--max_proposals=60", "--finetune_steps=20"]) == 0
    assert "fine-tuning, step 20 of 20: loss " in capfd.readouterr().out
    evaluate = ["detect", "evaluate", f"--detector={out}", f"--data={drawings}", "--list=val"]
    assert main(evaluate) == 0
    assert "mean, 8 photographs" in capfd.readouterr().out
