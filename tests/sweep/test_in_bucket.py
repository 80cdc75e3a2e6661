"""A sweep in a bucket has the same results as on a disk."""

import json

import pytest

from alexnet_jax.files import absolute
from tests.sweep.conftest import SWEEP, run, words, write_sweep


@pytest.mark.slow
def test_a_sweep_with_fine_tuning_a_failure_and_an_ensemble(bucket, cache_dir, swept, tmp_path):
    args = words(write_sweep(tmp_path / "mine.py", SWEEP), bucket, cache_dir)
    done = run(args)
    assert done.status == swept.whole.status == 1, done.err  # a member fails
    path = absolute(bucket)
    ours, theirs = (json.loads((x / "table.json").read_text()) for x in (path, swept.workdir))
    assert ours == theirs
    assert "the loss is" in (path / "too-fast-seed0" / "failed.txt").read_text()
    assert b"alexnet-jax: " in (path / "too-fast-seed0" / "stderr.log").read_bytes()
    assert "already done" in run(args).out
    reported = run(["report", f"--workdir={bucket}"])
    assert reported.status == 0, reported.err
    assert (path / "report.html").exists()
    assert not list(path.glob("*/*lock"))
