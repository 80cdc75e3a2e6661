"""Tasks that run at the same time."""

import threading

import pytest

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
