"""What a checkpoint knows of its numbers: the sum of each array's bits, and that all are finite.

XLA's CPU compiler first copies what it sums the bits of, half a gigabyte for the paper's net; there NumPy
reads the arrays where they are, while training stands still.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_BLOCK = 2**17  # numbers, which are still in the cache when they are looked at again


def checksums(tree: Any) -> tuple[Any, bool]:
    """Of float32 arrays, in one reading.

    Returns:
      The sum of each one's bits, modulo 2^32: the same in any order, and so on any mesh. And whether every
      number is finite.
    """
    arrays, structure = jax.tree.flatten(tree)
    if jax.process_count() == 1 and jax.default_backend() == "cpu":
        found = [_by_numpy(array) for array in arrays]
    else:
        found = jax.device_get(_by_xla(arrays))
    sums = jax.tree.unflatten(structure, [int(total) % 2**32 for total, _ in found])
    return sums, all(bool(finite) for _, finite in found)


def _by_numpy(array: jax.Array) -> tuple[int, bool]:
    total, finite = 0, True
    for shard in array.addressable_shards:
        if shard.replica_id == 0:
            numbers = np.from_dlpack(shard.data).ravel()  # `np.asarray` would leave a view with the array
            for start in range(0, numbers.size, _BLOCK):
                block = numbers[start : start + _BLOCK]
                total += int(block.view(np.uint32).sum(dtype=np.uint32))
                finite = finite and bool(np.isfinite(block).all())
    return total, finite


@jax.jit
def _by_xla(arrays: list[jax.Array]) -> list[tuple[jax.Array, jax.Array]]:
    bits = [lax.bitcast_convert_type(x, jnp.uint32) for x in arrays]
    return [
        (jnp.sum(b, dtype=jnp.uint32), jnp.all(jnp.isfinite(x))) for x, b in zip(arrays, bits, strict=True)
    ]
