"""The supported JAX releases, and the private API that the project uses."""

import ast
import importlib.metadata
import re
import sys
import tomllib

import pytest
from packaging.requirements import Requirement

from alexnet_jax import UserError
from alexnet_jax.cli.main import main
from alexnet_jax.runtime import jax_compat
from tests.conftest import ROOT


def test_a_release_that_is_too_old_is_refused_in_one_line(monkeypatch, capfd):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.9.2")
    assert main(["train"]) == 2
    supported = f"supports jax {jax_compat.OLDEST} to {jax_compat.NEWEST}"
    error = capfd.readouterr().err
    assert error.startswith(f"alexnet-jax: jax 0.9.2 is too old: alexnet-jax {supported}")
    assert error.count("\n") == 1


def test_a_missing_jax_is_refused(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(UserError, match="JAX is not installed: pip install 'jax>="):
        jax_compat.check_release()


@pytest.mark.parametrize("version", ["0.10.2", "0.10.3.dev20260101", "0.11.0", "0.12.0.1", "0.13.0"])
def test_later_releases_are_accepted(monkeypatch, version):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    jax_compat.check_release()


def test_the_supported_range_matches_the_requirements():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (jax,) = (r for r in map(Requirement, project["dependencies"]) if r.name == "jax")
    assert str(jax.specifier) == f">={jax_compat.OLDEST}"
    pinned = re.findall(r"^jax==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert (pinned[0], pinned[-1]) == (jax_compat.OLDEST, jax_compat.NEWEST)


def test_no_other_module_uses_a_private_api():
    for folder in ("src", "benchmarks", "configs"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            named = {
                name
                for node in ast.walk(ast.parse(path.read_text()))
                for name in (
                    [f"{node.module}.{a.name}" for a in node.names] if isinstance(node, ast.ImportFrom)
                    else [a.name for a in node.names] if isinstance(node, ast.Import)
                    else [ast.unparse(node)] if isinstance(node, ast.Attribute)
                    else []
                )
            }  # fmt: skip
            private = {name for name in named if name.startswith(("jax._src", "jaxlib"))}
            assert not private or path.name == "jax_compat.py", f"{path} uses {private}"


def test_a_release_without_the_private_api_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax._src", None)
    monkeypatch.delitem(sys.modules, "jax._src.clusters", raising=False)
    with pytest.raises(UserError, match=r"has changed the private API .* pip install 'jax>=0\.10\.2"):
        jax_compat.detect_cluster(1)
