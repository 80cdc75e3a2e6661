"""The table of a sweep, from files alone: every number against NumPy, and missing or failed results."""

import json
from pathlib import Path

import numpy as np
import pytest
from etils import epath

from alexnet_jax.sweep import directory
from alexnet_jax.sweep import table as sweep_table
from alexnet_jax.sweep.spec import Ensemble, Member, Published, Sweep

MEMBERS = (
    Member("base", "x.py", published=Published("a set", 40.7, 18.2)),
    Member("other", "x.py", seeds=(0, 1, 2), published=Published("another", 1.4, worse=True)),
    Member("single", "x.py", seeds=(5,)),
)
SWEEP = Sweep(MEMBERS, "base", seeds=(0, 1, 2, 3), views=10, ensembles=(Ensemble("both", ("base", "other")),))


def write_result(workdir, name, top1, top5, split="test"):
    (workdir / name).mkdir(parents=True, exist_ok=True)
    errors = {"loss": 1.0, "top1_error": top1, "top5_error": top5}
    found = {"split": split, "views": 10, "examples": 2000} | errors
    (workdir / name / "evaluation.json").write_text(json.dumps(found | {"checkpoints": []}))


@pytest.fixture
def errors():
    """(top 1, top 5) of each row, fractions of shape (networks, 2)."""
    rng = np.random.default_rng(0)
    return {
        name: rng.uniform(0.1, 0.6, (count, 2))
        for name, count in {"base": 4, "other": 3, "single": 1, "both": 1}.items()
    }


@pytest.fixture
def workdir(tmp_path, errors):
    for name, seeds in {"base": (0, 1, 2, 3), "other": (0, 1, 2), "single": (5,)}.items():
        for seed, each in zip(seeds, errors[name], strict=True):
            write_result(tmp_path, f"{name}-seed{seed}", *each)
    write_result(tmp_path, "both", *errors["both"][0])
    return epath.Path(tmp_path)


def cell(text, row, column):
    """Return a cell of a Markdown table. ``column`` is a title, or (title, n) for the n-th column with it."""
    head, _, *body = [
        [c.strip() for c in line.strip("|").split("|")] for line in text.splitlines() if "|" in line
    ]
    name, number = column if isinstance(column, tuple) else (column, 0)
    index = [i for i, title in enumerate(head) if title == name][number]
    (found,) = [line for line in body if line[0] == row]
    assert len(found) == len(head)
    return found[index]


def test_every_number_matches_numpy(workdir, errors):
    found = sweep_table.table(workdir, SWEEP)
    for row in found.to_json()["rows"]:
        for i, key in enumerate(("top1", "top5")):
            ours, base = 100 * errors[row["name"]][:, i], 100 * errors["base"][:, i]
            numbers = row[key]
            assert numbers["each"] == pytest.approx(ours.tolist())
            assert numbers["mean"] == pytest.approx(ours.mean())
            title = ("change", i)
            shown = cell(found.markdown(), row["name"], f"top-{5 if i else 1} error %")
            if len(ours) > 1:
                assert numbers["std"] == pytest.approx(ours.std(ddof=1))
                assert shown == f"{ours.mean():.2f} ± {ours.std(ddof=1):.2f}"
            else:
                assert numbers["std"] is None
                assert shown == f"{ours.mean():.2f}"
            if row["name"] == "base":
                assert numbers["change"] is numbers["change_standard_error"] is None
                assert cell(found.markdown(), "base", title) == ""
                continue
            change = ours.mean() - base.mean()
            assert numbers["change"] == pytest.approx(change)
            if len(ours) > 1:
                error = np.sqrt(ours.var(ddof=1) / len(ours) + base.var(ddof=1) / len(base))
                assert numbers["change_standard_error"] == pytest.approx(error)
                assert cell(found.markdown(), row["name"], title) == f"{change:+.2f} ± {error:.2f}"
            else:
                assert numbers["change_standard_error"] is None
                assert cell(found.markdown(), row["name"], title) == f"{change:+.2f}"


def test_the_training_error_is_that_of_the_last_whole_epoch(workdir):
    """It distinguishes a network that overfits, or learns less, from one that generalizes less."""
    rest = {"kind": "train", "loss": 1.0, "learning_rate": 0.1, "images_per_second": 9.0}
    lines = [rest | {"step": i, "epoch": i / 2, "top1_error": 0.5 / i} for i in range(1, 5)]
    for name in ("base-seed0", "base-seed2", "other-seed1"):
        (workdir / name / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
        lines[-1]["top1_error"] += 0.1
    found = sweep_table.table(workdir, SWEEP)
    second = 100 * np.array([(0.5 / 3 + 0.5 / 4) / 2 + 0.05 * i for i in range(3)])
    base, other, single, both = found.to_json()["rows"]
    assert base["training"]["each"] == pytest.approx(second[:2])
    assert (
        cell(found.markdown(), "base", "training %")
        == f"{second[:2].mean():.2f} ± {second[:2].std(ddof=1):.2f}"
    )
    assert cell(found.markdown(), "other", "training %") == f"{second[2]:.2f}"
    assert other["training"]["change"] is single["training"] is both["training"] is None
    (workdir / "other-seed1" / "failed.txt").write_text("it was trained with num_steps = 10, not 20")
    assert sweep_table.table(workdir, SWEEP).to_json()["rows"][1]["training"] is None


def test_the_last_columns_have_the_published_errors(workdir):
    found = sweep_table.table(workdir, SWEEP)
    text = found.markdown()
    assert [cell(text, "base", name) for name in ("published", "on")] == ["40.7 / 18.2", "a set"]
    assert [cell(text, "other", name) for name in ("published", "on")] == ["+1.4 / -", "another"]
    assert [cell(text, "single", name) for name in ("published", "on")] == ["", ""]
    assert found.to_json()["rows"][1]["published"] == {
        "on": "another", "top1": 1.4, "top5": None, "worse": True
    }  # fmt: skip
    assert "Errors on 2,000 images of test, 10 view(s)" in text


def test_the_table_for_a_terminal_has_the_same_cells(workdir):
    found = sweep_table.table(workdir, SWEEP)
    for line, row in zip(found.text().splitlines(), found.cells(), strict=False):
        assert [word for word in line.split("  ") if word.strip()] != []
        assert " ".join(line.split()) == " ".join(" ".join(row).split())


def test_without_a_result_of_the_baseline_there_are_no_changes(workdir):
    for seed in range(4):
        (workdir / f"base-seed{seed}" / "evaluation.json").unlink()
    found = sweep_table.table(workdir, SWEEP)
    assert "change" not in found.cells()[0]
    assert found.to_json()["baseline"] is None
    assert found.to_json()["rows"][1]["top1"]["change"] is None
    assert cell(found.markdown(), "base", "networks") == "0 of 4"
    assert cell(found.markdown(), "base", "top-1 error %") == "not run"
    assert cell(found.markdown(), "other", "published") == "+1.4 / -"


def test_missing_and_failed_results_are_marked(workdir, errors):
    (workdir / "other-seed1" / "evaluation.json").write_text('{"split": "te')  # cut off by a kill
    (workdir / "other-seed1" / "failed.txt").write_text("the loss is nan at step 3\n")
    (workdir / "both" / "evaluation.json").unlink()
    found = sweep_table.table(workdir, SWEEP)
    assert cell(found.markdown(), "other", "networks") == "2 of 3, 1 failed"
    assert cell(found.markdown(), "both", "networks") == "0 of 1"
    assert cell(found.markdown(), "both", "top-1 error %") == "not run"
    assert found.failures == ["other-seed1: the loss is nan at step 3"]
    assert found.text().endswith("failed: other-seed1: the loss is nan at step 3")
    (row,) = [row for row in found.to_json()["rows"] if row["name"] == "other"]
    assert row["top1"]["each"] == pytest.approx((100 * errors["other"][[0, 2], 0]).tolist())
    assert row["wanted"] == 3


def test_an_ensemble_has_the_number_of_networks_that_it_averages(workdir):
    assert cell(sweep_table.table(workdir, SWEEP).markdown(), "both", "networks") == "7 averaged"


def test_a_result_on_other_images_is_not_compared(workdir):
    write_result(workdir, "single-seed5", 0.5, 0.25, split="validation")
    found = sweep_table.table(workdir, SWEEP)
    assert found.on == "2,000 images of test, 10 view(s); 2,000 images of validation, 10 view(s)"
    assert cell(found.markdown(), "single", "top-1 error %") == "50.00"
    assert cell(found.markdown(), "single", "change") == ""
    assert found.to_json()["rows"][2]["top1"]["change"] is None


def test_a_sweep_without_results_has_a_table(tmp_path):
    found = sweep_table.table(epath.Path(tmp_path), SWEEP)
    assert found.text().count("not run") == 8
    assert "Errors on" not in found.text()
    assert all(row["top1"] is row["split_views_examples"] is None for row in found.to_json()["rows"])


def test_a_device_in_place_of_the_table_is_replaced(workdir):
    Path(workdir, "table.json").symlink_to("/dev/null")
    sweep_table.write(workdir, sweep_table.table(workdir, SWEEP))
    assert json.loads((workdir / "table.json").read_text())["rows"]


def test_the_table_is_made_from_the_directory_alone(workdir):
    directory.write(workdir, "ablations", SWEEP, ["--config.batch_size=7"])
    again = sweep_table.table(workdir, directory.read(workdir))
    sweep_table.write(workdir, again)
    found = sweep_table.table(workdir, SWEEP)
    assert json.loads((workdir / "table.json").read_text()) == json.loads(json.dumps(found.to_json()))
    assert (workdir / "table.md").read_text() == found.markdown()
