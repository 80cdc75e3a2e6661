"""benchmarks/machine.py: the processor, and the packages of a peer's Python."""

import importlib
import sys

import jax
import numpy as np
import pytest

from tests.conftest import ROOT


@pytest.fixture
def machine(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("machine")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "model name\t: AMD EPYC\nflags\t\t: fpu avx2 avx512f sse\n\nmodel name\t: AMD EPYC\n",
            "AMD EPYC (avx2 avx512f), ",
        ),
        ("model name : Intel Xeon\nflags : amx_bf16 avx2\n", "Intel Xeon (avx2 amx_bf16), "),
        ("model name : Old\nflags : sse\n", "Old (instruction sets unknown), "),
    ],
)
def test_the_processor_with_its_instruction_sets(machine, tmp_path, text, expected):
    (tmp_path / "cpuinfo").write_text(text)
    assert machine.processor(tmp_path / "cpuinfo").startswith(expected)


def test_a_system_without_cpuinfo_is_described(machine, tmp_path):
    assert "(instruction sets unknown)" in machine.processor(tmp_path / "missing")


def test_versions_of_both_sides(machine):
    found = machine.versions(["jax"], sys.executable, ["numpy"])
    assert found == f"jax {jax.__version__}, numpy {np.__version__}"


def test_a_peer_that_is_not_installed_is_named(machine):
    with pytest.raises(SystemExit, match="No module named 'no_such': install it, or"):
        machine.versions(["jax"], sys.executable, ["no_such"])
