"""Reading the log of a run."""

import json
import os
import random

import numpy as np
import pytest
from etils import epath

from alexnet_jax.training import metrics

TRAIN = {"kind": "train", "step": 1, "epoch": 0.1, "loss": 1.0, "top1_error": 0.5, "learning_rate": 0.01}
TRAIN |= {"images_per_second": 9.0}
EVAL = {"kind": "eval", "step": 1, "epoch": 0.1, "split": "test", "views": 1, "examples": 5, "loss": 1.0}
EVAL |= {"top1_error": 0.5, "top5_error": 0.1}
LAYERS = {"kind": "layers", "step": 1, "layers": {"conv1": {"weights": 0.1, "steps": 0.001}}}


def write_lines(workdir, ends, errors):
    lines = [
        TRAIN | {"step": round(10 * end), "epoch": end, "top1_error": error}
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
        file.write(json.dumps(EVAL | {"step": 25, "epoch": 2.5}) + "\n")
    found = metrics.read(epath.Path(tmp_path))
    assert (found.last, found.steps_per_epoch) == ((25, 2.5), 10)


def test_damaged_lines_are_skipped_and_numbered(tmp_path):
    write_lines(tmp_path, [0.5, 1.0, 1.5, 2.0], [0.9, 0.7, 0.8, 0.6])
    path = tmp_path / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b'"step"', b'"st\xffp"')
    path.write_bytes(b"".join(lines) + b'{"kind": "train", "st')
    found = metrics.read(epath.Path(tmp_path))
    assert [line["step"] for line in found.train] == [5, 15, 20]
    assert found.damaged == (2, 5)
    # The third line also stands for the second.
    np.testing.assert_allclose(found.epoch_errors(), [(0.9 + 0.8) / 2, (0.8 + 0.6) / 2])


def test_lines_of_other_kinds_are_ignored(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"kind": "later", "step": 3, "new": [1]}\n')
    assert metrics.read(epath.Path(tmp_path)) == metrics.Metrics((), (), (), ())


HOSTILE = ["null", "true", "[]", "{}", "-1", "0", "0.5", "1e308", "1e-320", "1e999", "NaN", "Infinity"]
HOSTILE += ["1" + "0" * 20, "1" + "0" * 400, "1" * 5000, '"x"', '"\\u001b[2J"', '"' + "x" * 70_000]
HOSTILE += ['{"": {}}', '{"\\ud800": {"weights": 1, "steps": 1}}', '{"a": {"weights": 1, "steps": NaN}}']
HOSTILE += ["[" * 30_000, '{"a":' * 10_000]


def hostile_line(draw):
    """Return a line with a field of another value, or one that is flipped or cut off somewhere."""
    record = draw.choice([TRAIN, EVAL, LAYERS])
    fields = {name: json.dumps(value) for name, value in record.items()}
    for _ in range(draw.randrange(3)):
        fields[draw.choice([*fields])] = draw.choice(HOSTILE)
    line = bytearray("{" + ", ".join(f'"{name}": {text}' for name, text in fields.items()) + "}\n", "utf8")
    if draw.random() < 0.3:
        line[draw.randrange(len(line))] ^= 1 << draw.randrange(8)
    if draw.random() < 0.1:
        del line[draw.randrange(len(line)) :]
    return bytes(line)


def test_what_is_read_from_hostile_logs_is_of_its_type_and_finite(tmp_path):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    for _ in range(500):
        (tmp_path / "metrics.jsonl").write_bytes(
            b"".join(hostile_line(draw) for _ in range(draw.randrange(8)))
        )
        found = metrics.read(epath.Path(tmp_path))
        json.dumps([found.train, found.evaluations, found.layers, found.reductions()], allow_nan=False)
        assert np.isfinite(found.epoch_errors()).all()
        assert found.last >= (0, 0.0)
        assert found.steps_per_epoch is None or found.steps_per_epoch >= 1
        assert all(line["split"] in ("train", "validation", "test") for line in found.evaluations)


def test_a_pipe_in_place_of_the_log_has_no_lines(tmp_path):
    os.mkfifo(tmp_path / "metrics.jsonl")
    assert metrics.read(epath.Path(tmp_path)).train == ()


@pytest.mark.parametrize(
    ("fields", "intact"),
    [
        ({}, True),  # of an earlier version
        ({"flops_per_second": 1e12, "mfu": 0.5}, True),
        ({"flops_per_second": 1e12, "mfu": None}, True),
        ({"flops_per_second": 1e12, "mfu": "0.5"}, False),
        ({"flops_per_second": -1.0, "mfu": None}, False),
    ],
)
def test_the_achieved_flops_may_be_missing(tmp_path, fields, intact):
    (tmp_path / "metrics.jsonl").write_text(json.dumps(TRAIN | fields) + "\n")
    assert len(metrics.read(epath.Path(tmp_path)).train) == intact
