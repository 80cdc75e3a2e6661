"""If one process ends early, all end. The processes of these tests do not import JAX."""

import os
import re
import signal
import socket
import subprocess
import sys

import pytest

from tests.conftest import ROOT, free_port

SCRIPT = """
import os, signal, sys, time
number = int(sys.argv[1])
exec(sys.argv[6])
from alexnet_jax.parallel import peers, rendezvous
from alexnet_jax.runtime.launchers import Member
peers._EVERY, peers._SILENCE = 0.2, 2.0
meeting = rendezvous.meet(Member("127.0.0.1", int(sys.argv[2]), 3, number, None), 30)
peers.watch(number, meeting.hosts, meeting.connections)
print("up", flush=True)
if number == int(sys.argv[3]):
    time.sleep(0.3)
    exec(sys.argv[4])
else:
    time.sleep(float(sys.argv[5]))
"""


def run(which, what, others=60, before=""):
    """Start three processes. One of them executes a line. Return the status and the errors of each.

    Each executes another line first.
    """
    port = free_port()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, *map(str, (number, port, which, what, others, before))],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in range(3)
    ]  # fmt: skip
    found = []
    for number, process in enumerate(processes):
        if "SIGSTOP" in what and number == which:
            continue
        _, err = process.communicate(timeout=40)
        found.append((process.returncode, err))
    if "SIGSTOP" in what:
        assert processes[which].stdout.readline() == "up\n"
        os.kill(processes[which].pid, signal.SIGCONT)
        _, err = processes[which].communicate(timeout=40)
        found.insert(which, (processes[which].returncode, err))
    return found


def is_gone(number, why="is gone"):
    return f"alexnet-jax: process {number} on host {socket.gethostname()} {why}: start all again to resume\n"


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_a_killed_process_ends_the_others(victim):
    found = run(victim, "os.kill(os.getpid(), signal.SIGKILL)")
    assert found.pop(victim) == (-signal.SIGKILL, "")
    assert found == [(75, is_gone(victim))] * 2


@pytest.mark.parametrize("first", [0, 1])
def test_a_process_that_has_left_may_end_before_the_others(first):
    found = run(first, "peers.leave(); os._exit(138)", others=1.5)
    assert found.pop(first) == (138, "")
    assert found == [(0, "")] * 2


@pytest.mark.parametrize("victim", [0, 2])
def test_a_silent_process_ends_the_others_and_itself_when_it_wakes_up(victim):
    found = run(victim, "os.kill(os.getpid(), signal.SIGSTOP); time.sleep(60)")
    late = found.pop(victim)
    for status, err in found:
        assert status == 75
        assert re.sub(r"\d+ seconds", "2 seconds", err) == is_gone(victim, "has not answered for 2 seconds")
    assert late[0] == 75


@pytest.mark.parametrize("number", [0, 1])
def test_all_end_with_the_line_and_the_status_of_the_first(number):
    found = run(number, "peers.end(2, 'the cache was changed: build it again')")
    assert found == [(2, "alexnet-jax: the cache was changed: build it again\n")] * 3


def test_ctrl_c_during_the_end_changes_nothing():
    ctrl_c = "lambda: (os.kill(os.getpid(), signal.SIGINT), time.sleep(0.1))"
    found = run(1, f"with peers.cleaned({ctrl_c}): peers.end(2, 'refused')")
    assert found == [(2, "alexnet-jax: refused\n")] * 3


def test_ctrl_c_while_a_loss_is_waited_for_is_one_line():
    soon = "import threading; threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()"
    found = run(1, f"{soon}; peers._SILENCE = 60; peers.wait_for_loss()")
    assert found == [(130, "alexnet-jax: stopped\n")] * 3


def test_a_bug_in_a_script_ends_all():
    found = run(1, "raise ValueError('a bug')")
    traceback, line = found.pop(1)[1].rstrip().rsplit("\n", 1)
    assert traceback.startswith("Traceback")
    assert line == "alexnet-jax: ValueError: a bug"
    assert found == [(1, "alexnet-jax: ValueError: a bug\n")] * 2


def test_processes_may_end_one_after_another():
    assert run(1, "sys.exit(0)", others=1) == [(0, "")] * 3


@pytest.mark.parametrize("last", [0, 1])
def test_a_process_that_works_longer_does_not_count_as_lost(last):
    """The others wait for it at their exit, in JAX's shutdown."""
    waits = f"import atexit; atexit.register(time.sleep, 6 * (number != {last}))\n"
    assert run(last, "time.sleep(5)", others=0, before=waits) == [(0, "")] * 3


@pytest.mark.parametrize("last", [0, 1])
def test_processes_that_wait_for_the_last_one_end_as_it_does(last):
    waits = f"import atexit; atexit.register(time.sleep, 9 * (number != {last}))\n"
    found = run(last, "time.sleep(1); peers.end(1, 'the disk is full')", others=0, before=waits)
    assert found == [(1, "alexnet-jax: the disk is full\n")] * 3
