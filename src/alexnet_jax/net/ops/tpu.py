"""Random crops for TPUs."""

import jax
import jax.numpy as jnp
from jax import lax


def chosen_places(
    images_BxHxWxC: jax.Array, corners_Bx2: jax.Array, mirrored_B: jax.Array, size: int
) -> jax.Array:
    """A square of each image, some of them mirrored, as products with matrices of zeros and ones.

    A product with a single one in each row is exact. Slices at places of their own a TPU would take in a
    loop over the images, into an array that convolutions can't read as it lies.
    """
    _, height, width, _ = images_BxHxWxC.shape
    places = jnp.arange(size)
    rows_BxS = corners_Bx2[:, :1] + places
    columns_BxS = corners_Bx2[:, 1:] + jnp.where(mirrored_B[:, None], places[::-1], places)
    # A TPU would round float32 to bfloat16 for the product.
    precision = lax.Precision.HIGHEST if images_BxHxWxC.dtype == jnp.float32 else lax.Precision.DEFAULT

    def taken(pattern: str, places_BxS: jax.Array, count: int, x: jax.Array) -> jax.Array:
        chosen_BxSxN = jax.nn.one_hot(places_BxS, count, dtype=x.dtype)
        return jnp.einsum(pattern, chosen_BxSxN, x, precision=precision)

    x = taken("bsh,bhwc->bswc", rows_BxS, height, images_BxHxWxC)
    return taken("bsw,bhwc->bhsc", columns_BxS, width, x)
