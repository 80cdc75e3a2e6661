"""Average precision equals an independent implementation on the same detections."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alexnet_jax.detection.average_precision import Detections, Objects, area, count, eleven_points
from tests.detection.test_boxes import INCLUSIVE, by_the_kit, half_open

# Few different boxes, so that detections often share an object, miss it by little, or are exact.
BOX = st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(2, 4), st.integers(2, 4)).map(
    lambda x: (x[0], x[1], x[0] + x[2], x[1] + x[3])
)
PHOTOGRAPHS = st.lists(
    st.lists(st.tuples(BOX | INCLUSIVE, st.booleans()), max_size=5), min_size=1, max_size=4
)
FOUND = st.lists(st.tuples(st.integers(0, 3), BOX | INCLUSIVE, st.integers(0, 5)), max_size=25)


def brute_force(found, photographs):
    """Compute both average precisions from their definitions, with fractions and without arrays.

    For each possible length of the ranked list everything is counted again.
    """
    ranked = [each for score in range(5, -1, -1) for each in found if each[2] == score]
    objects = sum(not difficult for there in photographs for _, difficult in there)
    if not objects:
        return None
    points = []
    for length in range(1, len(ranked) + 1):
        right, wrong, taken = 0, 0, set()
        for number, box, _ in ranked[:length]:
            overlap, which = 0.0, None
            for i, (other, _) in enumerate(photographs[number]):
                if by_the_kit(box, other) > overlap:
                    overlap, which = by_the_kit(box, other), i
            if which is not None and overlap >= 0.5:
                if photographs[number][which][1]:
                    continue
                if (number, which) not in taken:
                    taken.add((number, which))
                    right += 1
                    continue
            wrong += 1
        if right + wrong:
            points.append((Fraction(right, objects), Fraction(right, right + wrong)))

    def highest(recall):
        return max((precision for reached, precision in points if reached >= recall), default=Fraction(0))

    by_points = sum(highest(Fraction(tenths, 10)) for tenths in range(11)) / 11
    by_area = sum(highest(Fraction(i, objects)) for i in range(1, objects + 1)) / objects
    return float(by_points), float(by_area)


@settings(max_examples=300, deadline=None)
@given(PHOTOGRAPHS, FOUND)
def test_both_rules_equal_a_brute_force_implementation(photographs, found):
    found = [each for each in found if each[0] < len(photographs)]
    objects = [
        Objects(half_open([box for box, _ in there]), np.array([marked for _, marked in there], bool))
        for there in photographs
    ]
    detections = Detections(
        np.array([number for number, _, _ in found], int),
        half_open([box for _, box, _ in found]),
        np.array([score for *_, score in found], float),
    )
    counts, expected = count(detections, objects), brute_force(found, photographs)
    if expected is None:
        assert np.isnan(eleven_points(counts))
        assert np.isnan(area(counts))
    else:
        assert eleven_points(counts) == pytest.approx(expected[0], abs=1e-6)
        assert area(counts) == pytest.approx(expected[1], abs=1e-6)


def by_hand(*outcomes, objects=2, difficult=0):
    """Count detections, each of which is the box of object i (i < 9) or of nothing (9), by falling score."""
    boxes = half_open([(100 * i + 1, 1, 100 * i + 10, 10) for i in range(10)])
    marks = np.arange(objects + difficult) >= objects
    detections = Detections(
        np.zeros(len(outcomes), int), boxes[list(outcomes)], -np.arange(len(outcomes), dtype=float)
    )
    return count(detections, [Objects(boxes[: len(marks)], marks)])


def test_a_perfect_ranking():
    counts = by_hand(0, 1, 9, 9)
    assert eleven_points(counts) == area(counts) == 1.0


def test_a_mistake_between_two_objects():
    counts = by_hand(0, 9, 1)
    assert area(counts) == pytest.approx((1 + 2 / 3) / 2)
    assert eleven_points(counts) == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)


def test_the_second_detection_of_an_object_is_wrong():
    assert by_hand(0, 0, 1).wrong_K.tolist() == [0, 1, 1]


def test_difficult_objects_are_neither_right_nor_wrong_nor_missing():
    with_difficult, without = by_hand(0, 2, 2, 9, 1, difficult=1), by_hand(0, 9, 1)
    assert with_difficult.objects == 2
    assert with_difficult.right_K.tolist() == without.right_K.tolist()
    assert area(with_difficult) == area(without)


def test_a_recall_of_exactly_three_tenths_counts():
    """0.3 as a sum of tenths is more than 3 / 10 in floating point."""
    ten = [Objects(half_open([(1, 1, 10, 10)]), np.zeros(1, bool))] * 10
    three = Detections(np.arange(3), half_open([(1, 1, 10, 10)] * 3), np.ones(3))
    assert eleven_points(count(three, ten)) == pytest.approx(4 / 11)


def test_no_detections_and_no_objects():
    assert area(by_hand()) == eleven_points(by_hand()) == 0.0
    assert np.isnan(area(by_hand(9, objects=0, difficult=1)))
