"""Few file descriptors: a command does its work or says in one line what it lacks, and nothing is lost."""

import shutil

import pytest

from tests.torture.outcome import outcome
from tests.torture.test_files import commands, intact, result_of  # noqa: F401, a fixture
from tests.torture.test_kills import ALEXNET_JAX

pytestmark = pytest.mark.slow

MOST = 80
"""File descriptors that are enough for every command."""


def test_few_file_descriptors(intact, tmp_path, turns):  # noqa: F811
    place, refused, expected = tmp_path / "copy", 0, {}
    for name, command in commands(place).items():
        shutil.copytree(intact, place)
        assert outcome([*ALEXNET_JAX, *command], name) == 0
        expected[name] = result_of(place, name)
        shutil.rmtree(place)
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
