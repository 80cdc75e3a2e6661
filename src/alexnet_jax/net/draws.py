"""Random keys, derived from names."""

import zlib

import jax


def named_key(key: jax.Array, name: str) -> jax.Array:
    """Derive the key for one purpose.

    The key depends on the name, not on a number: removing a layer does not change what other layers draw.
    """
    return jax.random.fold_in(key, zlib.crc32(name.encode()))
