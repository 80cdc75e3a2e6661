"""Each command works in a directory whose name has characters that programs tend to misread."""

import json
import shlex

import pytest

from alexnet_jax.cli.main import main
from alexnet_jax.files import absolute
from alexnet_jax.text import visible
from alexnet_jax.training.workdir import saved_steps
from tests.conftest import RECIPES, error_lines
from tests.odd_names import ODDEST


def test_train_resume_evaluate_and_report_in_a_directory_of_any_name(tmp_path, capfd):
    workdir, cache = tmp_path / ODDEST / "w", f"--config.data.cache_dir={tmp_path / ODDEST / 'cache'}"
    train = ["train", f"--config={RECIPES / 'tiny.py'}", f"--workdir={workdir}", cache]
    for steps in (2, 3):
        assert main([*train, f"--config.num_steps={steps}", "--config.checkpoint_every=1"]) == 0
    printed = capfd.readouterr()
    assert "resuming at step 2 of 3" in printed.out
    assert printed.err == ""
    evaluate = shlex.join(["alexnet-jax", "evaluate", f"--workdir={workdir}", cache])
    assert f"evaluate with: {visible(evaluate)}" in printed.out  # the cache's folder must be named too
    assert saved_steps(absolute(workdir)) == [1, 2, 3]
    result = tmp_path / f"{ODDEST}.json"
    for step in ("last", "best", "1"):
        assert main(["evaluate", f"--workdir={workdir}", f"--step={step}", f"--json={result}"]) == 0
    assert json.loads(result.read_text())["checkpoints"] == [{"workdir": str(workdir), "step": 1}]
    assert main(["report", f"--workdir={workdir}"]) == 0
    assert (workdir / "report.html").exists()
    assert error_lines(capfd.readouterr().err.replace(visible(str(workdir)), "w")) == []


@pytest.mark.slow
def test_a_sweep_in_a_directory_of_any_name(tmp_path, cache_dir, capfd):
    recipe = tmp_path / "mine.py"
    recipe.write_text(
        "from alexnet_jax.sweep import Member, Sweep\n"
        f"TINY = {str(RECIPES / 'tiny.py')!r}\n"
        "def sweep(variants=''):\n"
        "    return Sweep((Member('base', TINY, {'num_steps': 2, 'checkpoint_every': 1}),))\n"
    )
    cache = f"--config.data.cache_dir={cache_dir}"
    sweep = ["sweep", f"--config={recipe}", f"--workdir={tmp_path / ODDEST}", cache]
    assert main(sweep) == 0
    assert saved_steps(absolute(tmp_path / ODDEST / "base-seed0")) == [1, 2]
    assert main(sweep) == 0
    assert "already done" in capfd.readouterr().out
    assert main(["report", f"--workdir={tmp_path / ODDEST}"]) == 0
