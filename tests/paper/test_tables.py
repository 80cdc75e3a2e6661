"""Tables 1 and 2: the paper's results beside ours, with and without sweeps."""

import json

import pytest
from etils import epath

from alexnet_jax import UserError
from alexnet_jax.paper import tables as paper_tables
from alexnet_jax.sweep import directory, spec
from tests.conftest import CONFIGS


def write_results(root, sweep, errors):
    """Write a sweep of configs/tables.py with finished tasks: {directory: (top 1, top 5)}."""
    path = f"{CONFIGS}/tables.py:{sweep}"
    workdir = epath.Path(root / sweep)
    workdir.mkdir()
    directory.write(workdir, path, spec.load(path), [])
    for name, (top1, top5) in errors.items():
        (workdir / name).mkdir()
        result = {
            "split": "validation",
            "views": 10,
            "examples": 50_000,
            "loss": 1.0,
            "top1_error": top1,
            "top5_error": top5,
            "checkpoints": [],
        }
        (workdir / name / "evaluation.json").write_text(json.dumps(result))


def row(text, title, start):
    """Return the words of a row of the table with this title. ``start`` is the beginning of the row."""
    table = next(part for part in text.split("\n\n") if part.startswith(title))
    return next(line.split() for line in table.splitlines() if line.startswith(start))


def test_a_cell_without_a_run_reads_not_run(tmp_path):
    text = paper_tables.text(epath.Path(tmp_path))
    assert row(text, "Table 2", "5 CNNs") == ["5", "CNNs", "38.1", "16.4", "16.4", "not", "run", "not", "run"]
    assert row(text, "Table 1", "CNN ")[:3] == ["CNN", "37.5", "17.0"]
    for name in ("ilsvrc2010", "ilsvrc2012", "fall2009"):
        assert f"alexnet-jax sweep --config=tables:{name} --workdir={tmp_path / name}" in text


def test_our_results_are_beside_those_of_the_paper(tmp_path):
    cnns = {"1-CNN-seed0": (0.41, 0.19), "1-CNN-seed1": (0.40, 0.18)}
    write_results(tmp_path, "ilsvrc2012", cnns | {"5-CNNs": (0.38, 0.165)})
    text = paper_tables.text(epath.Path(tmp_path))
    assert row(text, "Table 2", "1 CNN ")[2:5] == ["40.7", "18.2", "-"]
    assert "40.50 ± 0.71" in text
    assert "18.50 ± 0.71" in text
    assert "2 of 5 networks, 50,000 images of validation, 10 views" in text
    assert row(text, "Table 2", "5 CNNs")[5:7] == ["38.00", "16.50"]
    assert row(text, "Table 2", "7 CNNs*")[5:] == ["not", "run", "not", "run"]


def test_a_directory_without_a_sweep_is_refused(tmp_path):
    (tmp_path / "ilsvrc2010").mkdir()
    with pytest.raises(UserError, match="ilsvrc2010 holds no sweep"):
        paper_tables.text(epath.Path(tmp_path))
