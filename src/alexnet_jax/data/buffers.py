"""Memory for batches, which is used again as soon as nothing looks at it.

A batch has tens of megabytes, and the system would make and clear their pages anew for each. On a CPU, JAX
takes an array that begins at a multiple of 64 bytes as it is, without a copy, and lets go of it when the last
program that reads it is done; elsewhere, when it has been copied to the device.
"""

import math
import weakref
from collections import deque

import numpy as np

_ALIGNMENT = 64  # bytes


class Buffers:
    """Uint8 arrays of one shape; several threads may take some."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._free: deque[np.ndarray] = deque()

    def take(self) -> np.ndarray:
        """An array to be filled; its memory comes back when the array, and all views of it, are gone."""
        try:
            memory = self._free.pop()
        except IndexError:
            memory = self._new()
        lease = _Lease(memory)
        # At exit a device may still be reading: then memory is given back to nobody.
        weakref.finalize(lease, self._free.append, memory).atexit = False
        return np.asarray(lease)

    def _new(self) -> np.ndarray:
        size = math.prod(self._shape)
        memory = np.empty(size + _ALIGNMENT, np.uint8)
        begin = -memory.ctypes.data % _ALIGNMENT
        return memory[begin : begin + size].reshape(self._shape)


class _Lease:
    """What an array of `Buffers` is a view of: NumPy shortens chains of views, and stops at what is none."""

    def __init__(self, memory: np.ndarray) -> None:
        self.__array_interface__ = memory.__array_interface__
