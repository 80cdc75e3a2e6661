"""The mean and the standard error of several values."""

import math

import pytest

from alexnet_jax.loops.spread import mean_and_error, spread


def test_the_mean_and_its_standard_error():
    assert mean_and_error([0.5]) == (0.5, None)
    assert mean_and_error([1.0, 2.0, 3.0]) == (2.0, pytest.approx(1 / math.sqrt(3)))
    assert spread([0.5]) == {"mean": 0.5, "standard_error": None, "values": [0.5]}
