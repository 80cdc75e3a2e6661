"""Tasks that run at the same time."""

import sys
import threading

import pytest
from etils import epath

from alexnet_jax.errors import Interrupted
from alexnet_jax.sweep.processes import Processes, in_slots


def test_tasks_run_at_the_same_time_in_different_slots_after_those_that_they_need():
    together, slots, ended = threading.Barrier(2, timeout=60), {}, []

    def do(number, slot):
        slots[number] = slot
        if number in (0, 1):
            together.wait()  # fails unless both are running
        ended.append(number)

    needs = {0: set(), 1: set(), 2: {0, 1}, 3: {2}}
    in_slots(do, needs, [{"part": "a"}, {"part": "b"}], Processes())
    assert ended[2:] == [2, 3]
    assert slots[0] != slots[1]


def test_in_one_slot_tasks_keep_their_order():
    ended = []
    in_slots(lambda number, _: ended.append(number), {n: set() for n in range(5)}, [{}], Processes())
    assert ended == [0, 1, 2, 3, 4]


def test_after_an_error_the_running_tasks_are_stopped_and_no_more_start():
    together, started, processes = threading.Barrier(2, timeout=60), [], Processes()

    def do(number, slot):
        started.append(number)
        together.wait()
        if number == 0:
            raise OSError("the disk is full")
        while True:
            processes.check()

    with pytest.raises(OSError, match="the disk is full"):
        in_slots(do, {n: set() for n in range(5)}, [{}, {}], processes)
    assert sorted(started) == [0, 1]
    with pytest.raises(Interrupted):
        processes.check()


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Return a function that makes a shell script the Python of the tasks."""

    def replace(script):
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))

    return replace


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            "kill -KILL $$",
            "train was killed by SIGKILL: if memory ran out, run fewer tasks at a time, with --at_once=N",
        ),
        ("kill -TERM $$", "train was killed by SIGTERM"),
        ("kill -36 $$", "train was killed by signal 36"),
        ("echo 'alexnet-jax: the disk is full' >&2; exit 1", "the disk is full"),
    ],
)
def test_the_reason_why_a_process_ended(program, tmp_path, script, message):
    program(script)
    assert Processes().run("train", [], epath.Path(tmp_path), {}, None)[1] == message


def test_after_a_signal_each_process_that_could_not_save_is_named(program, tmp_path):
    # Without >&-, `run` would wait for the `sleep`, which would hold the pipe.
    program(
        """trap 'kill $!; echo "alexnet-jax: the disk is full" >&2; exit 1' INT
        sleep 60 >&- & kill -INT $PPID; wait"""
    )
    lines = []
    with Processes() as processes, pytest.raises(Interrupted, match="SIGINT"):
        processes.run("train", [], epath.Path(tmp_path), {}, lines.append)
    assert lines == ["train stopped with status 1 (the disk is full)"]
