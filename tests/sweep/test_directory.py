"""The directory of a sweep: another sweep, a training and a damaged file are refused."""

import json

import pytest
from etils import epath
from hypothesis import given
from hypothesis import strategies as st

from alexnet_jax import UserError
from alexnet_jax.files import locked
from alexnet_jax.sweep import Ensemble, Member, Published, Sweep
from alexnet_jax.sweep import directory as sweep_directory
from alexnet_jax.sweep.spec import check
from alexnet_jax.sweep.table import table
from tests.hostile import READ_ONLY, check_refusal, hostile
from tests.sweep.conftest import SWEEP, bytes_of, refused, words, write_sweep

pytestmark = pytest.mark.slow


def test_another_sweep_is_refused(moved, tmp_path, cache_dir, capfd):
    before = bytes_of(tmp_path), (tmp_path / "sweep" / "sweep.json").read_bytes()
    for args in (
        words(f"{moved}:variant", tmp_path / "sweep", cache_dir),
        words(moved, tmp_path / "sweep", cache_dir, "--config.num_steps=20"),
        words(moved, tmp_path / "sweep", cache_dir, "--config.data.source=folder:other"),
        words(write_sweep(tmp_path / "other.py", SWEEP), tmp_path / "sweep", cache_dir),
    ):
        err = refused(capfd, args)
        assert f"{tmp_path / 'sweep'} holds the sweep mine.py, not " in err
    assert before == (bytes_of(tmp_path), (tmp_path / "sweep" / "sweep.json").read_bytes())


def test_the_workdir_of_a_training_is_refused(trained, tmp_path, cache_dir, capfd):
    before = sorted(trained.rglob("*"))
    args = words(write_sweep(tmp_path / "mine.py", SWEEP), trained, cache_dir)
    with locked(trained / "lock", lambda: pytest.fail("held")):  # while it is running
        assert f"{trained} holds a training, not a sweep" in refused(capfd, args)
    assert sorted({*trained.rglob("*")} - {trained / "lock"}) == [p for p in before if p.name != "lock"]


@pytest.mark.parametrize("text", [None, "", "{}", "[]", '{"sweep": {}}'])
def test_a_missing_or_damaged_sweep_json_is_one_line(text, tmp_path, cache_dir, capfd):
    if text is not None:
        (tmp_path / "sweep.json").write_text(text)
        file = write_sweep(tmp_path / "mine.py", SWEEP)
        assert "sweep.json can't be read" in refused(capfd, words(file, tmp_path, cache_dir))
    message = "holds no sweep" if text is None else r"sweep\.json can't be read"
    with pytest.raises(UserError, match=message):
        sweep_directory.read(epath.Path(tmp_path))


def test_a_link_inside_the_directory_of_a_sweep_is_refused(tmp_path, cache_dir, capfd):
    (tmp_path / "mine").mkdir()
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "base-seed0").symlink_to("../mine")
    args = words(write_sweep(tmp_path / "mine.py", SWEEP), tmp_path / "sweep", cache_dir)
    assert f"{tmp_path}/sweep/base-seed0 is a symbolic link to ../mine" in refused(capfd, args)
    assert not list((tmp_path / "mine").iterdir())


@given(data=st.data())
@READ_ONLY
def test_any_hostile_sweep_json_is_one_line(tmp_path, data):
    path = epath.Path(tmp_path)
    sweep = Sweep(
        (
            Member("a", "digits", {"num_steps": 1}, curve="a"),
            Member("b", "digits", init_from="a", seeds=(1, 2), curve="b"),
        ),
        baseline="a",
        ensembles=(Ensemble("both", ("a", "b"), Published("a set", 1.0)),),
        figure=1,
    )
    sweep_directory.write(path, "digits", sweep, ["--config.num_steps=1"])
    if data.draw(st.booleans()):
        assert sweep_directory.read(path) == sweep
    record = data.draw(hostile(json.loads((tmp_path / "sweep.json").read_text())))
    (tmp_path / "sweep.json").write_text(json.dumps(record))
    check_refusal(lambda: table(path, sweep_directory.read(path)).text())


@given(data=st.data())
@READ_ONLY
def test_any_hostile_result_counts_as_none(tmp_path, data):
    result = {"split": "test", "views": 1, "examples": 9, "loss": 1.0, "top1_error": 0.5, "top5_error": 0.0}
    result["checkpoints"] = [{"workdir": "/w", "step": 3}]
    path = epath.Path(tmp_path)
    for document in (result, data.draw(hostile(result))):
        (tmp_path / "evaluation.json").write_text(json.dumps(document))
        found = sweep_directory.evaluation(path)
        assert found in (None, document)
    assert found is not None or document != result


def test_a_reason_is_not_read_through_a_link(tmp_path):
    """Otherwise the page of a sweep would show the file to which the link leads."""
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "failed.txt").symlink_to(tmp_path / "secret")
    assert sweep_directory.failure(epath.Path(tmp_path / "task")) == "failed.txt is a symbolic link"


@pytest.mark.parametrize("name", ["", ".", "..", "a" * 256])
def test_a_name_that_cannot_be_a_directory_is_refused(name):
    """Otherwise the result of such an ensemble would lie outside the directory."""
    with pytest.raises(UserError, match="can't be the name of a directory: change a name"):
        check("sweep.json", Sweep((Member("a", "digits"),), ensembles=(Ensemble(name, ("a",)),)))
