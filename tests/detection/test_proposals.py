"""Proposals by OpenCV's selective search, and their order."""

import sys

import numpy as np
import pytest

from alexnet_jax.detection.boxes import areas, overlaps
from alexnet_jax.detection.proposals import ranked, selective_search
from alexnet_jax.errors import UserError


@pytest.fixture
def image():
    """A red rectangle on a textured ground."""
    random = np.random.default_rng(0)
    image = random.integers(90, 110, (120, 160, 3), np.uint8)
    image[30:90, 50:130] = (200, 30, 30)
    return image


def test_an_object_is_found_whatever_was_searched_before(image, opencv):
    propose = selective_search()
    first = propose(image)
    propose(image[:60])  # changes the state of OpenCV's random numbers
    np.testing.assert_array_equal(propose(image), first)
    assert overlaps(first, np.array([[50.0, 30, 130, 90]])).max() > 0.9
    assert (first >= 0).all()
    assert (first <= [160, 120, 160, 120]).all()
    assert (areas(first) > 0).all()


def test_an_image_without_regions_has_no_proposals_or_itself(opencv):
    for shape in ((1, 1, 3), (3, 200, 3), (60, 60, 3)):
        found = selective_search()(np.full(shape, 9, np.uint8))
        assert found.shape[1] == 4


def test_the_order_depends_on_the_boxes_alone():
    random = np.random.default_rng(1)
    corners = random.integers(0, 300, (400, 2))
    boxes = np.concatenate([corners, corners + random.integers(20, 200, (400, 2))], axis=1).astype(float)
    found = ranked(boxes)
    np.testing.assert_array_equal(ranked(random.permutation(boxes)), found)
    np.testing.assert_array_equal(np.unique(found, axis=0), np.unique(boxes, axis=0))
    np.testing.assert_array_equal(ranked(np.concatenate([boxes, boxes])), found)
    assert areas(found[:100]).mean() > areas(found[-100:]).mean()


def test_near_duplicates_come_last():
    boxes = np.array(
        [[0.0, 0, 100, 100], [0, 0, 99, 100], [0, 0, 98, 100], [50, 50, 90, 90], [5, 70, 30, 95]]
    )
    found = ranked(boxes)
    assert (overlaps(found[:3], found[:3]) - np.eye(3)).max() < 0.8


def test_missing_modules_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UserError, match=r"pip install -e '.\[detection\]'"):
        selective_search()
    monkeypatch.setitem(sys.modules, "cv2", np)  # a package of OpenCV without contributed modules
    with pytest.raises(UserError, match="needs OpenCV's contributed modules"):
        selective_search()
