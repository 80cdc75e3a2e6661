"""The step after which all processes stop: a simulation of processes that exchange lines in any order."""

import math
import random
import threading

import pytest

from alexnet_jax.parallel.stopping_step import StoppingStep


class Line:
    """Connections of process 0 to the others. Lines arrive later, in order, on a thread for each process."""

    def __init__(self, count):
        self.processes = [StoppingStep(i, count, self._sender(i)) for i in range(count)]
        self._waiting = [[] for _ in range(count)]
        self._changed = threading.Condition()
        self._ends = False
        self._threads = [threading.Thread(target=self._deliver, args=(i,)) for i in range(count)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self.processes

    def __exit__(self, *error):
        with self._changed:
            self._ends = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _sender(self, number):
        def send(line):
            with self._changed:
                for to in range(1, len(self.processes)) if number == 0 else [0]:
                    self._waiting[to].append((number, line))
                self._changed.notify_all()

        return send

    def _deliver(self, number):
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting[number] or self._ends)
                if not self._waiting[number]:
                    return
                peer, line = self._waiting[number].pop(0)
            self.processes[number].read(peer, line.rstrip())


def stops(processes, start, asked):
    """Train until all processes stop. Return for each its last step and the signal; None if it did not stop.

    Args:
      processes: the processes.
      start: their first step.
      asked: the step at which a process receives a signal, and the signal, by number.
    """
    found = [None] * len(processes)
    collective = threading.Barrier(len(processes))

    def train(number):
        processes[number].begin()
        at, signum = asked.get(number, (math.inf, None))
        for step in range(start, start + (10**6 if asked else 200)):
            if step % 3 == 0:
                collective.wait(60)
            if (by := processes[number].stop_after(step, signum if step >= at else None)) is not None:
                found[number] = step, by
                return

    threads = [threading.Thread(target=train, args=(number,)) for number in range(len(processes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize("askers", [[0], [1], [0, 1]])
def test_all_stop_after_the_same_step(count, askers):
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    draws = random.Random(seed)
    for _ in range(50):
        start = draws.choice([0, 1000])
        asked = {asker: (start + draws.randrange(20), 10 + asker) for asker in askers}
        with Line(count) as processes:
            first, *others = stops(processes, start, asked)
        assert all(other == first for other in others), (first, others)
        assert first[0] >= min(at for at, _ in asked.values()) - 3
        assert first[1] in [signum for _, signum in asked.values()]


def test_another_run_starts_without_the_choice_of_the_one_before():
    with Line(2) as processes:
        assert None not in stops(processes, 0, {1: (5, 15)})
        assert stops(processes, 6, {}) == [None, None]


@pytest.mark.parametrize("line", ["", "{}", "[]", '[1, "ask"]', '[1, "last", "x"]', '[1, "what", 1]'])
def test_a_line_that_cannot_be_read_is_an_error(line):
    with pytest.raises((ValueError, TypeError)):
        StoppingStep(0, 2, print).read(1, f"stop {line}".encode())
