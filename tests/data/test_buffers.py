"""Memory for batches is reused when no array uses it any more, and not before."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from alexnet_jax.data.buffers import Buffers


def address(array):
    return array.__array_interface__["data"][0]


def test_memory_is_reused_after_the_last_view_is_deleted():
    buffers = Buffers((2, 3))
    first = buffers.take()
    first_address, view = address(first), first[1:]
    del first
    assert address(buffers.take()) != first_address
    del view
    assert first_address in [address(array) for array in [buffers.take(), buffers.take()]]


def test_an_array_on_a_device_keeps_its_content():
    buffers = Buffers((4, 64, 64, 3))
    on_device = []
    for i in range(8):
        array = buffers.take()
        array[:] = i
        on_device.append(jax.device_put(array))
        del array
    for i, array in enumerate(on_device):
        np.testing.assert_array_equal(array, i)


def test_memory_that_a_program_still_reads_is_not_reused():
    buffers = Buffers((1024, 1024))
    slow = jax.jit(lambda x: lax.fori_loop(0, 50, lambda i, total: total + jnp.sum(jnp.sin(x + i)), 0.0))
    expected = slow(jnp.zeros((1024, 1024), jnp.uint8))
    for _ in range(3):
        array = buffers.take()
        array[...] = 0
        found = slow(jax.device_put(array))
        del array
        for other in [buffers.take() for _ in range(3)]:
            other[...] = 255
        assert found == expected


def test_a_cpu_uses_the_memory_without_a_copy():
    array = Buffers((4, 64, 64, 3)).take()
    assert jax.device_put(array).unsafe_buffer_pointer() == address(array)
