"""The directory of a sweep: another sweep, a training and a damaged file are refused."""

import pytest
from etils import epath

from alexnet_jax import UserError
from alexnet_jax.files import locked
from alexnet_jax.sweep import directory as sweep_directory
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
