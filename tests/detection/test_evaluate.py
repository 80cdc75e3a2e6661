"""The result of a detector, in words and as JSON."""

import json
import math

from alexnet_jax import schema
from alexnet_jax.detection.evaluate import ClassScore, Measured

NONE = ClassScore("square", 0, math.nan, math.nan, math.nan)


def test_the_mean_is_that_of_the_classes_with_objects():
    found = Measured((NONE, ClassScore("disc", 3, 0.5, 0.25, 0.125)), photographs=2)
    assert found.to_json()["mean"] == {"eleven_points": 0.5, "area": 0.25, "without_regression": 0.125}
    assert str(found).splitlines()[-1].split()[-4:] == ["3", "50.0", "25.0", "12.5"]


def test_photographs_without_objects_have_no_score():
    found = Measured((NONE,), photographs=2)
    record = schema.parse(json.dumps(found.to_json()))  # which refuses NaN
    assert record["mean"] == {"eleven_points": None, "area": None, "without_regression": None}
    assert str(found).splitlines()[-1].split()[-4:] == ["0", "-", "-", "-"]
