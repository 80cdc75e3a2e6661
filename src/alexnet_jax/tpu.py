"""Ways that keep a TPU from its memory, which bounds it; ``ops`` and ``augment`` choose them for one.

Plain JAX, told by the traffic that XLA counts. ``tpu_kernels`` has what XLA itself can't fuse.
"""

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


@jax.custom_vjp
def dense_of_towers(x_BxI: jax.Array, kernels_TxIxO: jax.Array) -> jax.Array:
    """X times each tower's kernel, of shape BxTxO, in x's type.

    Products in this order leave the kernels as they lie, and the update becomes part of the one that makes
    their gradient; those of autodiff would transpose them.
    """
    return lax.dot_general(x_BxI, kernels_TxIxO.astype(x_BxI.dtype), (((1,), (1,)), ((), ())))


def _forward(x: jax.Array, kernels: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return dense_of_towers(x, kernels), (x, kernels)


def _backward(saved: tuple[jax.Array, jax.Array], g_BxTxO: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernels = saved
    by_x = lax.dot_general(g_BxTxO, kernels.astype(x.dtype), (((1, 2), (0, 2)), ((), ())))
    by_kernels_IxTxO = lax.dot_general(
        x, g_BxTxO, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32
    )
    return by_x, by_kernels_IxTxO.transpose(1, 0, 2)


dense_of_towers.defvjp(_forward, _backward)
