"""Memory for batches, reused as soon as nothing reads it.

A batch has tens of megabytes. Without reuse the system would allocate and clear new pages for each batch.

On a CPU, JAX uses an array that is aligned to 64 bytes without copying it, and releases it when the last
program that reads it has ended. On other devices JAX releases the array once it is copied.
"""

import math
import weakref
from collections import deque

import numpy as np

_ALIGNMENT = 64  # bytes


class Buffers:
    """A pool of uint8 arrays of one shape, for any number of threads."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._free: deque[np.ndarray] = deque()

    def take(self) -> np.ndarray:
        """Return an array to fill. Its memory returns to the pool with the last view of the array."""
        try:
            memory = self._free.pop()
        except IndexError:
            memory = self._new()
        lease = _Lease(memory)
        # At exit a device may still be reading the memory, so it is not returned then.
        weakref.finalize(lease, self._free.append, memory).atexit = False
        return np.asarray(lease)

    def _new(self) -> np.ndarray:
        size = math.prod(self._shape)
        memory = np.empty(size + _ALIGNMENT, np.uint8)
        begin = -memory.ctypes.data % _ALIGNMENT
        return memory[begin : begin + size].reshape(self._shape)


class _Lease:
    """The base of an array from `Buffers`. It is no array, so NumPy keeps it as the base of every view."""

    def __init__(self, memory: np.ndarray) -> None:
        self.__array_interface__ = memory.__array_interface__
