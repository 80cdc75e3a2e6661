"""Reading the log of a run."""

import json

import numpy as np
import pytest
from etils import epath

from alexnet_jax.training import metrics


def write_lines(workdir, ends, errors):
    lines = [
        {"kind": "train", "step": round(10 * end), "epoch": end, "loss": 1.0, "top1_error": error}
        for end, error in zip(ends, errors, strict=True)
    ]
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_the_error_of_an_epoch_is_the_mean_over_the_epoch(tmp_path):
    # Intervals of 0.4 epochs: the third one is half in the first epoch and half in the second.
    write_lines(tmp_path, [0.4, 0.8, 1.2, 1.6, 2.0, 2.3], [0.9, 0.8, 0.7, 0.6, 0.5, 0.1])
    wanted = [0.4 * 0.9 + 0.4 * 0.8 + 0.2 * 0.7, 0.2 * 0.7 + 0.4 * 0.6 + 0.4 * 0.5]
    np.testing.assert_allclose(metrics.read(epath.Path(tmp_path)).epoch_errors(), wanted)


@pytest.mark.parametrize("ends", [[], [0.9]])
def test_an_unfinished_epoch_has_no_error(tmp_path, ends):
    write_lines(tmp_path, ends, [0.5] * len(ends))
    assert len(metrics.read(epath.Path(tmp_path)).epoch_errors()) == 0


def test_the_last_step_is_that_of_any_line(tmp_path):
    assert metrics.read(epath.Path(tmp_path)).last == (0, 0.0)
    write_lines(tmp_path, [1.0, 2.0], [0.9, 0.8])
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "eval", "step": 25, "epoch": 2.5}\n')
    found = metrics.read(epath.Path(tmp_path))
    assert (found.last, found.steps_per_epoch) == ((25, 2.5), 10)


def test_reading_ends_at_a_truncated_line(tmp_path):
    write_lines(tmp_path, [1.0, 2.0], [0.9, 0.8])
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "st')
    found = metrics.read(epath.Path(tmp_path))
    assert (len(found.train), found.cut) == (2, 3)
