"""The hardest mistakes, from batches on one process or on several."""

import jax
import numpy as np
import pytest

from alexnet_jax.parallel import hosts
from alexnet_jax.training.hardest import Hardest, Mistake


def test_the_mistakes_with_the_highest_loss_come_first():
    hardest = Hardest(3)
    hardest.add(np.array([4, 7]), np.float32([2, 5]), np.array([1, 0]), np.float32([0.5, 0.75]))
    hardest.add(np.array([9, 8]), np.float32([5, 3]), np.array([2, 2]), np.float32([0.25, 1.0]))
    assert hardest.gathered() == [
        Mistake(5.0, 7, 0, 0.75),
        Mistake(5.0, 9, 2, 0.25),
        Mistake(3.0, 8, 2, 1.0),
    ]


def test_without_mistakes_there_are_none():
    assert Hardest(3).gathered() == []


@pytest.mark.parametrize("process", [0, 1])
def test_two_processes_find_the_mistakes_of_both(monkeypatch, process):
    collectors = [Hardest(2), Hardest(2)]
    sent = []
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    for number in (process, 1 - process):
        monkeypatch.setattr(jax, "process_index", lambda number=number: number)
        rows = np.array([number, 10 + number])
        collectors[number].add(rows, np.float32([1 + number, 4]), np.array([3, 3]), np.float32([0.5, 0.5]))
        monkeypatch.setattr(hosts, "total", lambda mine: sent.append(mine) or sum(sent))
        found = collectors[number].gathered()
    assert [(each.row, each.loss) for each in found] == [(10, 4), (11, 4)]
