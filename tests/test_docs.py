"""The documentation names files, code and tests that exist."""

import importlib
import pkgutil
import re

import pytest

import alexnet_jax
from alexnet_jax.config import base, saved
from tests.conftest import ROOT

PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "launch" / "README.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)#]+)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing


MODULES = [name for _, name, _ in pkgutil.walk_packages(alexnet_jax.__path__, "alexnet_jax.")]


def exists(reference):
    """Return whether ``module.name``, ``package.module`` or ``package.module.name`` is in alexnet_jax."""
    owner, _, name = reference.rpartition(".")
    owners = [importlib.import_module(module) for module in MODULES if module.endswith(f".{owner}")]
    return any(module.endswith(f".{reference}") for module in MODULES) or any(
        hasattr(module, name) for module in owners
    )


def test_code_and_tests_that_paper_md_names_exist():
    page = (ROOT / "docs" / "paper.md").read_text()
    references = set(re.findall(r"`([a-z_]\w*(?:\.\w+)+)`", page)) - {*saved.settings(base())}
    code = {name for name in references if not name.endswith(".py")}
    assert len(code) > 30
    assert {name for name in code if not exists(name)} == set()
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", page))
    assert len(named) > 20
    assert {name for name in named if f"def {name}(" not in tests} == set()
    paths = re.findall(r"`((?:tests|configs|benchmarks|launch)/[\w/.]*)", page)
    assert {path for path in paths if not (ROOT / path).exists()} == set()
