"""A window shows the box in its centre, 16 pixels of context, and the mean where there is no photograph."""

import numpy as np
import pytest
from PIL import Image

from alexnet_jax.detection.windows import CONTEXT, warped

FILL = np.full((64, 64, 3), 7, np.uint8)


def photograph(height=100, width=120):
    """Return a photograph whose red is the column and whose green is the row."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([columns, rows, np.full_like(rows, 200)], axis=-1).astype(np.uint8)


def test_a_window_of_the_right_size_is_a_part_of_the_photograph():
    image = photograph()
    window = warped(Image.fromarray(image), np.array([40.0, 30, 72, 62]), FILL)
    np.testing.assert_array_equal(window, image[30 - CONTEXT : 62 + CONTEXT, 40 - CONTEXT : 72 + CONTEXT])


@pytest.mark.parametrize("box", [(20, 30, 84, 46), (40, 40, 56, 88)])
def test_a_box_fills_the_middle_whatever_its_shape(box):
    image = np.zeros((128, 128, 3), np.uint8)
    x1, y1, x2, y2 = box
    image[y1:y2, x1:x2] = 255
    window = warped(Image.fromarray(image), np.array(box, float), FILL)
    expected = np.zeros((64, 64, 3))
    expected[CONTEXT:-CONTEXT, CONTEXT:-CONTEXT] = 255
    inside = np.abs(window.astype(int) - expected) < 128  # edges are blurred, but at the right places
    assert inside.all()


def test_context_beyond_the_photograph_is_the_mean():
    image = photograph(32, 32)
    window = warped(Image.fromarray(image), np.array([0.0, 0, 32, 32]), FILL)
    np.testing.assert_array_equal(window[CONTEXT:-CONTEXT, CONTEXT:-CONTEXT], image)
    outside = np.ones((64, 64), bool)
    outside[CONTEXT:-CONTEXT, CONTEXT:-CONTEXT] = False
    assert (window[outside] == 7).all()


def test_a_box_at_the_edge_has_context_on_the_other_sides():
    image = photograph(100, 100)
    window = warped(Image.fromarray(image), np.array([0.0, 34, 32, 66]), FILL)
    assert (window[:, :CONTEXT] == 7).all()
    np.testing.assert_array_equal(window[:, CONTEXT:], image[34 - CONTEXT : 66 + CONTEXT, : 64 - CONTEXT])
