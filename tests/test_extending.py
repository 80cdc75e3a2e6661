"""The changes of docs/extending.md, made in a copy of the repository."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "extending.md").read_text()
SECTIONS = {text.partition("\n")[0]: text for text in PAGE.split("\n## ")[1:]}
FILES = {"A layer": 4, "A data source": 3, "An optimizer": 2, "An ablation": 2, "A command": 4}


def blocks(section):
    """Return (file, language, text) of each code block. The file is named in the heading above it."""
    return re.findall(r"^### `(.*?)`$.*?^```(\w+)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def changed(file, text, hunks):
    """Apply each hunk to the text, which must contain the lines of the hunk once."""
    for hunk in hunks.split("@@\n"):
        lines = hunk.splitlines(keepends=True)
        before, after = ("".join(line[1:] for line in lines if line[0] != sign) for sign in "+-")
        assert text.count(before) == 1, f"docs/extending.md: {file} does not have\n{before}"
        text = text.replace(before, after)
    return text


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The repository with all changes of the page."""
    root = tmp_path_factory.mktemp("extended")
    for folder in ("src", "configs", "tests", "docs"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    for file, language, text in blocks(PAGE):
        path = root / file
        assert path.exists() == (language == "diff"), file
        path.write_text(changed(file, path.read_text(), text) if language == "diff" else text)
    return root


def run(copy, *args):
    done = subprocess.run(
        [sys.executable, "-m", *map(str, args)],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy / "src"), "JAX_NUM_CPU_DEVICES": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize("section", FILES)
def test_each_section_ends_with_a_list_of_its_files(copy, section):
    files = [file for file, _, _ in blocks(SECTIONS[section])]
    assert re.findall(r"`(.*?)`", SECTIONS[section].rpartition("\nFiles: ")[2]) == files
    assert len(files) == FILES[section] == SECTIONS[section].count("\n### ")


@pytest.mark.slow
def test_the_tests_of_the_page_pass(copy):
    files = [file for file, _, _ in blocks(PAGE) if file.startswith("tests/")]
    assert len(files) == 3
    run(copy, "pytest", "-n", 0, "-p", "no:cacheprovider", *files)


@pytest.mark.slow
def test_tests_of_the_tables_pass(copy):
    files = [f"tests/{name}.py" for name in ("config/test_settings", "data/test_sources", "net/test_shapes")]
    run(copy, "pytest", "-n", 0, "-p", "no:cacheprovider", *files, "tests/test_variants.py")


@pytest.mark.slow
def test_a_run_with_the_new_optimizer(copy, tmp_path, cache_dir):
    settings = {
        "optimizer.name": "lion",
        "optimizer.beta2": 0.99,
        "num_steps": 2,
        "data.cache_dir": cache_dir,
    }
    flags = [f"--config.{key}={value}" for key, value in settings.items()]
    run(copy, "alexnet_jax", "train", "--config=tests/recipes/tiny.py", f"--workdir={tmp_path}", *flags)
    assert '"beta2": 0.99' in (tmp_path / "config.json").read_text()


@pytest.mark.slow
def test_a_sweep_with_the_new_ablation(copy):
    listed = run(copy, "alexnet_jax", "sweep", "--config=ablations:cifar10", "--workdir=new", "--dry_run")
    assert listed.count("cifar10.py:towers,no_mirror ") == 3
