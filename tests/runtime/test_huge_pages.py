"""A program that asks for huge pages restarts once and keeps its other tunables."""

import os
import subprocess
import sys

import pytest

from alexnet_jax.runtime.huge_pages import TUNABLES

PROGRAM = f"""
import os, sys
from alexnet_jax.runtime import huge_pages
print("started", flush=True)
huge_pages.ask()
print(os.environ.get({TUNABLES!r}), sys.argv[1:])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
@pytest.mark.parametrize(
    ("before", "starts", "after"),
    [
        (None, 2, "glibc.malloc.hugetlb=1"),
        ("glibc.malloc.arena_max=4", 2, "glibc.malloc.arena_max=4:glibc.malloc.hugetlb=1"),
        ("glibc.malloc.hugetlb=0", 1, "glibc.malloc.hugetlb=0"),
    ],
)
def test_the_program_starts_again_once(before, starts, after):
    environment = {k: v for k, v in os.environ.items() if k != TUNABLES}
    if before is not None:
        environment[TUNABLES] = before
    command = [sys.executable, "-c", PROGRAM, "--flag", "a value"]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert printed.splitlines() == ["started"] * starts + [f"{after} ['--flag', 'a value']"]
