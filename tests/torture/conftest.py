"""The turns of a torture test: random choices, again and again, until its share of the time is over."""

import random
import secrets
import time

import pytest


class Turns:
    """Sources of random choices, one for each turn. The numbers of the turns are counted."""

    def __init__(self, seed, seconds, least, only):
        self._seed, self._least, self._only = seed, least, only
        self._end = time.monotonic() + seconds
        self.number = 0

    def __iter__(self):
        return self

    def __next__(self):
        if self._only is None:
            is_over = self.number >= self._least and time.monotonic() >= self._end
        else:
            is_over = self.number == self._only
        if is_over:
            raise StopIteration
        self.number = self._only or self.number + 1
        return random.Random(f"{self._seed} {self.number}")


@pytest.fixture
def turns(request):
    """The turns of this test. It gets the same share of ``--minutes`` as each other test of the suite."""
    option = request.config.getoption
    seed = secrets.randbits(32) if option("--seed") is None else option("--seed")
    tests = sum("turns" in item.fixturenames for item in request.session.items)
    turns = Turns(seed, 60 * option("--minutes") / tests, option("--turns"), option("--turn"))
    yield turns
    print(f"\n{turns.number} turns; the last one again: python -m pytest -n 0 -s '{request.node.nodeid}'"
          f" --seed={seed} --turn={turns.number}")  # fmt: skip
