"""Compiled programs are reused. If they cannot be stored, a run compiles them."""

import os
import shutil
import subprocess
import sys

import pytest

from alexnet_jax.runtime import compile_cache
from tests.conftest import RECIPES


def run(tmp_path, cache_dir, **environment):
    command = [
        sys.executable, "-m", "alexnet_jax", "train", f"--config={RECIPES / 'tiny.py'}",
        f"--workdir={tmp_path / 'w'}", f"--config.data.cache_dir={cache_dir}", "--config.num_steps=3",
    ]  # fmt: skip
    kept = {k: v for k, v in os.environ.items() if "CACHE" not in k}
    return subprocess.run(command, env=kept | environment, capture_output=True, text=True, check=True)


def test_a_run_stores_its_programs_and_compiles_one_update(tmp_path, cache_dir):
    run(tmp_path, cache_dir, XDG_CACHE_HOME=str(tmp_path))
    names = [file.name.partition("-")[0] for file in (tmp_path / "alexnet-jax" / "programs").glob("*-cache")]
    # One update: the state that it begins with has the types of the state that it returns.
    assert names.count("jit_update") == 1
    assert {"jit__create_state", "jit_predict", "jit_score"} < set(names)


COUNT = """if True:
    import sys
    from alexnet_jax.runtime import compile_cache
    compile_cache.use()  # before JAX is imported
    import jax
    from alexnet_jax.cli.main import main
    counts = dict.fromkeys(["compile_requests_use_cache", "cache_hits", "cache_misses"], 0)
    def count(event, **_):
        if (name := event.removeprefix("/jax/compilation_cache/")) in counts:
            counts[name] += 1
    jax.monitoring.register_event_listener(count)
    status = main(sys.argv[1:])
    print(*counts.values())
    sys.exit(status)
"""


@pytest.mark.parametrize("verb", ["train", "evaluate"])
def test_a_second_start_compiles_nothing(tmp_path, cache_dir, trained, verb):
    def start(number):
        workdir = trained if verb == "evaluate" else tmp_path / number
        recipe = [f"--config={RECIPES / 'tiny.py'}", "--config.num_steps=3"] if verb == "train" else []
        kept = {k: v for k, v in os.environ.items() if "CACHE" not in k}
        done = subprocess.run(
            [sys.executable, "-c", COUNT, verb, *recipe, f"--workdir={workdir}",
             f"--config.data.cache_dir={cache_dir}"],
            env=kept | {"XDG_CACHE_HOME": str(tmp_path)}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return [int(word) for word in done.stdout.splitlines()[-1].split()]

    requests, hits, misses = start("first")
    assert misses > 0
    assert hits + misses == requests
    assert start("second") == [requests, requests, 0]


def test_a_directory_that_cannot_be_written_is_not_reported(tmp_path, cache_dir):
    (tmp_path / "file").touch()
    assert run(tmp_path, cache_dir, JAX_COMPILATION_CACHE_DIR=str(tmp_path / "file")).stderr == ""


def test_a_cache_directory_that_cannot_be_made_is_not_used(tmp_path, monkeypatch):
    (tmp_path / "alexnet-jax").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    compile_cache.use()
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ


def test_a_directory_that_the_user_names_stores_small_programs_and_has_no_limit(monkeypatch):
    monkeypatch.setattr(os, "environ", {"JAX_COMPILATION_CACHE_DIR": "/elsewhere"})
    compile_cache.use()
    assert os.environ == {
        "JAX_COMPILATION_CACHE_DIR": "/elsewhere",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


def test_jax_limits_the_size(tmp_path, cache_dir):
    """JAX removes programs beyond the limit. This also shows that filelock, which it needs, is installed."""
    run(tmp_path, cache_dir, XDG_CACHE_HOME=str(tmp_path))
    size = directory_size(tmp_path)
    shutil.rmtree(tmp_path / "alexnet-jax")
    shutil.rmtree(tmp_path / "w")
    run(tmp_path, cache_dir, XDG_CACHE_HOME=str(tmp_path), JAX_COMPILATION_CACHE_MAX_SIZE=str(size // 2))
    assert 0 < directory_size(tmp_path) <= size // 2


def directory_size(tmp_path):
    return sum(file.stat().st_size for file in (tmp_path / "alexnet-jax" / "programs").glob("*-cache"))
