"""The mesh that a config asks for, and one that can't be."""

import pytest

from alexnet_jax import UserError
from alexnet_jax.mesh import make_mesh


@pytest.mark.parametrize(
    ("shape", "towers", "expected"),
    [
        ((-1, -1), 2, (4, 1)),
        ((-1, 2), 2, (2, 2)),
        ((1, 2), 4, (1, 2)),
        ((1, 1), 1, (1, 1)),
        ((2, -1), 2, (2, 1)),
    ],
)
def test_meshes_of_four_devices(shape, towers, expected):
    assert tuple(make_mesh(shape, towers).shape.values()) == expected


@pytest.mark.parametrize(
    ("shape", "towers", "batch", "message"),
    [
        ((8, 1), 2, 16, "needs 8 devices, 4 are there"),
        ((-1, 8), 8, 16, "8 devices are asked for, 4 are there"),
        ((1, 2), 3, 16, "3 towers can't be split over 2 devices"),
        ((-1, -1), 2, 6, r"batch_size = 6 can't be split over 4 devices.*mesh='\(3, 1\)'"),
    ],
)
def test_meshes_that_cannot_be(shape, towers, batch, message):
    with pytest.raises(UserError, match=message):
        make_mesh(shape, towers, batch)
