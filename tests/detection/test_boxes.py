"""Overlap by the development kit's rule, suppression, and offsets."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from alexnet_jax.detection.boxes import areas, clipped, moved, offsets, overlaps, suppressed

CORNER, SIDE = st.integers(1, 40), st.integers(0, 30)
INCLUSIVE = st.tuples(CORNER, CORNER, SIDE, SIDE).map(lambda x: (x[0], x[1], x[0] + x[2], x[1] + x[3]))


def half_open(boxes):
    return np.array(boxes, float).reshape(-1, 4) - [1, 1, 0, 0]


def by_the_kit(a, b):
    """VOCevaldet.m: corners are numbers of pixels, and each side is the difference plus 1."""
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    union = (a[2] - a[0] + 1) * (a[3] - a[1] + 1) + (b[2] - b[0] + 1) * (b[3] - b[1] + 1) - width * height
    return width * height / union


@given(st.lists(INCLUSIVE, max_size=5), st.lists(INCLUSIVE, max_size=5))
def test_overlaps_are_those_of_the_development_kit(a, b):
    expected = np.array([[by_the_kit(x, y) for y in b] for x in a]).reshape(len(a), len(b))
    np.testing.assert_allclose(overlaps(half_open(a), half_open(b)), expected, rtol=1e-12)


def test_boxes_without_area_overlap_nothing():
    empty, whole = np.array([[3.0, 3, 3, 9], [8, 3, 2, 9]]), np.array([[0.0, 0, 10, 10]])
    assert areas(empty).tolist() == [0, 0]
    assert overlaps(empty, whole).tolist() == [[0], [0]]


@given(st.lists(st.tuples(INCLUSIVE, st.integers(0, 3)), max_size=12), st.sampled_from([0.3, 0.5]))
def test_a_box_is_removed_if_and_only_if_one_that_stays_and_scores_higher_overlaps_it(found, most):
    boxes = half_open([box for box, _ in found])
    scores = np.array([score for _, score in found], float)
    kept = suppressed(boxes, scores, most).tolist()
    expected = []
    for i in sorted(range(len(found)), key=lambda i: (-found[i][1], i)):
        if all(by_the_kit(found[i][0], found[j][0]) <= most for j in expected):
            expected.append(i)
    assert kept == expected
    assert suppressed(boxes, scores, most, 3).tolist() == expected[:3]


@given(st.lists(st.tuples(INCLUSIVE, INCLUSIVE), min_size=1, max_size=5))
def test_moving_by_the_offsets_gives_the_targets(pairs):
    boxes, targets = (half_open(each) for each in zip(*pairs, strict=True))
    np.testing.assert_allclose(moved(boxes, offsets(boxes, targets)), targets, atol=1e-9)


def test_offsets_by_hand():
    found = offsets(np.array([[0.0, 0, 10, 20]]), np.array([[5.0, 10, 25, 20]]))
    np.testing.assert_allclose(found, [[1.0, 0.25, np.log(2), np.log(0.5)]])


def test_boxes_are_cut_off_at_the_edges():
    assert clipped(np.array([[-3.0, 2, 50, 99]]), 30, 40).tolist() == [[0, 2, 40, 30]]
