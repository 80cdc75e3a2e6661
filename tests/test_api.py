"""The Python API: its page, its imports, and the example that uses it."""

import os
import runpy
import subprocess
import sys

import pytest

import alexnet_jax
from tests.conftest import CONFIGS, ROOT


def test_the_page_matches_the_docstrings():
    made = runpy.run_path(str(ROOT / "docs" / "make_api.py"))["page"]()
    assert (ROOT / "docs" / "api.md").read_text() == made, "run `make docs`"


def test_every_public_name_can_be_imported():
    assert sorted(alexnet_jax._HOME) == alexnet_jax.__all__
    assert all(getattr(alexnet_jax, name).__name__ == name for name in alexnet_jax.__all__)
    assert set(alexnet_jax.__all__) <= set(dir(alexnet_jax))
    with pytest.raises(AttributeError, match="no attribute 'learn'"):
        _ = alexnet_jax.learn


def test_reading_a_config_does_not_wait_for_jax():
    code = "import alexnet_jax, sys; alexnet_jax.get_config(sys.argv[1]); print('jax' in sys.modules)"
    command = [sys.executable, "-c", code, str(CONFIGS / "digits.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_functions_are_functions_after_their_modules_are_imported():
    import alexnet_jax.loops.evaluate
    import alexnet_jax.loops.predict
    import alexnet_jax.loops.prepare
    import alexnet_jax.loops.train

    assert all(callable(getattr(alexnet_jax, name)) for name in ("train", "evaluate", "predict", "prepare"))


def test_the_example_runs(tmp_path):
    text = (ROOT / "examples" / "digits.py").read_text()
    for old, new in (
        ('"runs/example"', repr(str(tmp_path / "w"))),
        ("config.num_epochs = 8.0", "config.num_steps = 3"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    (tmp_path / "example.py").write_text(text)
    done = subprocess.run(
        [sys.executable, tmp_path / "example.py"],
        cwd=tmp_path,
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "done: 3 steps" in done.stdout
    assert done.stdout.count("of 360 test images") == 2
    assert done.stdout.count("%  ") == 8 * 5
    assert done.stdout.splitlines()[-1] == "(100, 10)"
    assert (tmp_path / "w" / "predictions.png").stat().st_size > 10_000
