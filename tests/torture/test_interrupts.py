"""Ctrl-C at random moments: a command ends with one line, and the same command then does its work."""

import shutil
import signal
import subprocess
import time

import pytest

from tests.conftest import ROOT
from tests.torture.outcome import checked, outcome
from tests.torture.test_files import commands, intact, result_of  # noqa: F401, a fixture
from tests.torture.test_kills import ALEXNET_JAX

pytestmark = pytest.mark.slow

START = 0.1
"""Seconds in which Python starts. Until it runs our code, Ctrl-C prints its traceback."""


def test_ctrl_c(intact, tmp_path, turns):  # noqa: F811
    place, expected, seconds, stopped = tmp_path / "copy", {}, {}, 0
    for name, command in commands(place).items():
        shutil.copytree(intact, place)
        began = time.monotonic()
        assert outcome([*ALEXNET_JAX, *command], name) == 0
        expected[name], seconds[name] = result_of(place, name), time.monotonic() - began
        shutil.rmtree(place)
    for moments in turns:
        shutil.copytree(intact, place)
        name = moments.choice([*expected])
        command, moment = [*ALEXNET_JAX, *commands(place)[name]], moments.uniform(START, seconds[name])
        process = subprocess.Popen(
            command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        time.sleep(moment)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
        what = f"{name} after {moment:.3f} s"
        if process.returncode != -signal.SIGINT:  # as Python ends
            checked(process.returncode, out, err, what, others=(130,))
        if process.returncode:
            stopped += 1
            assert outcome(command, f"{name} after Ctrl-C") == 0
        assert result_of(place, name) == expected[name], what
        shutil.rmtree(place)
    print(f"{stopped} commands stopped")
