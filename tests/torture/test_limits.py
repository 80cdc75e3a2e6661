"""Few file descriptors or little memory: a command does its work or says what it lacks; nothing is lost."""

import shutil
import signal
import subprocess

import pytest

from tests.conftest import ROOT
from tests.torture.outcome import checked, outcome
from tests.torture.test_files import commands, intact, result_of  # noqa: F401, a fixture
from tests.torture.test_kills import ALEXNET_JAX

pytestmark = pytest.mark.slow

MOST = 80
"""File descriptors that are enough for every command."""

MEMORY = (80, 500)
"""Megabytes of writable memory, of which the most are enough. JAX reserves much more address space."""


def results(intact, place):  # noqa: F811
    """Return the result of each command without a limit."""
    found = {}
    for name, command in commands(place).items():
        shutil.copytree(intact, place)
        assert outcome([*ALEXNET_JAX, *command], name) == 0
        found[name] = result_of(place, name)
        shutil.rmtree(place)
    return found


def test_few_file_descriptors(intact, tmp_path, turns):  # noqa: F811
    place, refused = tmp_path / "copy", 0
    expected = results(intact, place)
    for moments in turns:
        shutil.copytree(intact, place)
        name, number = moments.choice([*commands(place)]), moments.randrange(20, MOST)
        command = [*ALEXNET_JAX, *commands(place)[name]]
        limited = ["bash", "-c", 'ulimit -n "$0" && exec "$@"', str(number), *command]
        status = outcome(limited, f"{name} with {number} descriptors")
        if status != 0:
            refused += 1
            assert outcome(command, f"{name} after {number} descriptors") == 0
        assert result_of(place, name) == expected[name]
        shutil.rmtree(place)
    print(f"{refused} refusals")


def test_little_memory(intact, tmp_path, turns):  # noqa: F811
    """If XLA's allocations for a CPU fail, it may abort, or compute other numbers and report no error."""
    place, refused, aborted = tmp_path / "copy", 0, 0
    expected = results(intact, place)
    for moments in turns:
        shutil.copytree(intact, place)
        name, megabytes = moments.choice([*commands(place)]), moments.randrange(*MEMORY)
        command, what = [*ALEXNET_JAX, *commands(place)[name]], f"{name} with {megabytes} MB"
        limited = ["prlimit", f"--data={megabytes * 10**6}", *command]
        done = subprocess.run(limited, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
        by_glibc = done.returncode == 127 and "memory for thread-local data: ABORT" in done.stderr
        if by_glibc or done.returncode in (-signal.SIGABRT, -signal.SIGSEGV):  # by the libraries
            assert "Traceback" not in done.stderr, f"{what}\n{done.stderr}"
            aborted += 1
        elif "OpenBLAS error: Memory allocation" not in done.stderr:  # it ends the process
            refused += checked(done.returncode, done.stdout, done.stderr, what) != 0
        if done.returncode != 0:
            assert outcome(command, f"after {what}") == 0
            if name != "resume":
                assert result_of(place, name) == expected[name], what
        shutil.rmtree(place)
    print(f"{refused} refusals, {aborted} aborted")
