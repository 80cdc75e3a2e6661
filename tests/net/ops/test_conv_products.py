"""Convolutions as matrix products against the definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.net.ops import conv, conv_products

SHAPES = [
    (4, (9, 7), 5, 8, (2, 2)),  # conv2
    (3, (6, 6), 3, 9, (1, 1)),  # a batch of odd size
    (1, (5, 6), 2, 12, (0, 1)),
    (2, (4, 4), 1, 8, (0, 0)),
]


@pytest.mark.parametrize(("batch", "size", "kernel", "channels", "padding"), SHAPES)
def test_a_convolution_and_its_gradients(batch, size, kernel, channels, padding):
    draws = np.random.default_rng(0)

    def draw(*shape):  # float32 values that bfloat16 can hold exactly
        return jnp.asarray(draws.normal(size=shape), jnp.bfloat16).astype(jnp.float32)

    x, w = draw(batch, *size, channels), draw(kernel, kernel, channels, 10)
    y, transposed = jax.vjp(lambda x, w: conv._conv(x, w, 1, padding), x, w)
    g = draw(*y.shape)
    by_x, by_w = transposed(g)
    x, w, g = (a.astype(jnp.bfloat16) for a in (x, w, g))
    found = (
        conv_products.conv(x, w, padding),
        conv_products.input_gradient(g, w, padding),
        conv_products.kernel_gradient(x, g, w.shape[:2], padding),
    )
    for a, expected in zip(found, (y, by_x, by_w), strict=True):
        assert (a.shape, a.dtype) == (expected.shape, jnp.bfloat16)
        # Sums in float32, rounded once: to half of the last of bfloat16's 8 bits.
        np.testing.assert_allclose(a.astype(jnp.float32), expected, rtol=2**-8, atol=1e-4)


def test_convolutions_in_bfloat16_use_matrix_products():
    x, w = jnp.ones((2, 5, 5, 8), jnp.bfloat16), jnp.ones((3, 3, 8, 4), jnp.bfloat16)
    text = jax.jit(lambda x, w: conv.conv(x, w, 1, (1, 1))).lower(x, w).as_text()
    assert "dot_general" in text
    assert "stablehlo.convolution" not in text
