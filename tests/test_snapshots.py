"""Copies that an update can't change, and that leave it the memory it writes to."""

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from alexnet_jax.mesh import make_mesh
from alexnet_jax.snapshots import Snapshots


@pytest.mark.parametrize("spec", [P(), P("tower"), P("data", "tower")])
def test_the_same_numbers_in_the_same_places(spec):
    numbers = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    array = jax.device_put(numbers, NamedSharding(make_mesh(2, 2), spec))
    copy = Snapshots().take({"a": array})["a"]
    np.testing.assert_array_equal(copy, numbers)
    assert copy.sharding == array.sharding


def test_an_update_writes_over_the_original_and_not_over_the_copy():
    array = jax.numpy.zeros((64, 64))
    place = array.unsafe_buffer_pointer()
    copy = Snapshots().take(array)
    updated = jax.jit(lambda x: x + 1, donate_argnums=0)(array)
    assert updated.unsafe_buffer_pointer() == place
    np.testing.assert_array_equal(copy, 0)
    np.testing.assert_array_equal(updated, 1)


def test_memory_is_used_again():
    snapshots, array = Snapshots(), jax.numpy.zeros((64, 64))
    first = snapshots.take(array)
    place = first.unsafe_buffer_pointer()
    second = snapshots.take(array)
    assert second.unsafe_buffer_pointer() != place
    del first
    assert snapshots.take(array).unsafe_buffer_pointer() == place
