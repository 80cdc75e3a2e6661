"""Copies of arrays on CPUs, for a checkpoint to be written from while training goes on.

An update writes into the memory of the state before it. Where something still reads that, XLA copies all of
it to fresh memory first, whose pages the system must make: half a second to one for the paper's net. Here the
copy goes where the last one was. (From other devices Orbax itself copies before it returns.)
"""

from typing import Any

import jax
import numpy as np

from alexnet_jax.buffers import Buffers


class Snapshots:
    """Takes them; the memory of one that is gone is the next one's."""

    def __init__(self) -> None:
        self._buffers: dict[int, Buffers] = {}

    def take(self, tree: Any) -> Any:
        """The same arrays, with memory of their own; on other devices, or for several processes, itself."""
        if jax.process_count() > 1 or jax.default_backend() != "cpu":
            return tree
        return jax.tree.map(self._copy, tree)

    def _copy(self, array: jax.Array) -> jax.Array:
        shards = array.addressable_shards
        copies = [(shard.index, self._copy_of(shard.data)) for shard in shards if shard.replica_id == 0]
        parts = [
            jax.device_put(next(copy for index, copy in copies if index == shard.index), shard.device)
            for shard in shards
        ]
        return jax.make_array_from_single_device_arrays(array.shape, array.sharding, parts)

    def _copy_of(self, array: Any) -> np.ndarray:
        numbers = np.from_dlpack(array)  # (`np.asarray` would leave a view with the array)
        buffers = self._buffers.setdefault(numbers.nbytes, Buffers((numbers.nbytes,)))
        copy = buffers.take().view(numbers.dtype).reshape(numbers.shape)
        copy[...] = numbers
        return copy
