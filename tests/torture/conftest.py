"""Options of the torture tests. Each test prints its seed; ``--seed`` repeats it."""

import random
import secrets

import pytest


@pytest.fixture
def kills(request):
    """The least number of kills in each test."""
    return request.config.getoption("--kills")


@pytest.fixture
def moments(request):
    """A source of random moments and choices."""
    seed = request.config.getoption("--seed")
    seed = secrets.randbits(32) if seed is None else seed
    print(f"seed {seed}")
    return random.Random(seed)
