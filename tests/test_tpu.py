"""What is written for a TPU against its definitions, in value and gradient; it runs anywhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.experimental.pallas import tpu as pltpu

from alexnet_jax import ops, tpu, tpu_kernels
from alexnet_jax.layers import LRN, MaxPool


def draws(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.parametrize("maps", [16, 128])  # images in the lanes, maps in the lanes
@pytest.mark.parametrize("norm", [LRN("n", alpha=1e-2), LRN("n", window=4, beta=0.5, divide_alpha=True)])
def test_relu_lrn_max_pool(maps, norm):
    x, bias = 10 * draws(128, 5, 7, maps), draws(maps, seed=1)
    assert tpu_kernels.fits(x, MaxPool("p"))

    def apart(x, bias):
        return ops.max_pool(ops.lrn(ops.relu(x + bias), norm), MaxPool("p"))

    expected, backward = jax.vjp(apart, x, bias)
    g = draws(*expected.shape, seed=2)
    with pltpu.force_tpu_interpret_mode():
        found, kernel_backward = jax.vjp(lambda *args: tpu_kernels.relu_lrn_max_pool(*args, norm), x, bias)
        gradients = kernel_backward(g)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    for a, b in zip(gradients, backward(g), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_of_equal_maxima_one_gets_the_gradient():
    """In bfloat16 many are equal; what is not passed on to one is passed on to another."""
    x = jnp.round(4 * draws(128, 7, 7, 16)).astype(jnp.bfloat16)
    norm, nothing = LRN("n", alpha=0.0, k=1.0), jnp.zeros(16, jnp.bfloat16)
    with pltpu.force_tpu_interpret_mode():
        y, backward = jax.vjp(lambda x: tpu_kernels.relu_lrn_max_pool(x, nothing, norm), x)
        (by_x,) = backward(jnp.ones_like(y))
    assert by_x.astype(jnp.float32).sum() == (y > 0).sum()


@pytest.mark.parametrize(
    ("shape", "pool"),
    [
        ((64, 5, 7, 16), MaxPool("p")),
        ((128, 6, 7, 16), MaxPool("p", ceil=True)),
        ((128, 5, 7, 24), MaxPool("p")),
        ((128, 5, 7, 16), MaxPool("p", window=2)),
        ((128, 205, 205, 128), MaxPool("p")),
    ],
)
def test_other_sizes_do_not_fit(shape, pool):
    assert not tpu_kernels.fits(jax.ShapeDtypeStruct(shape, jnp.float32), pool)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_crops_are_slices_to_the_bit(dtype):
    images = draws(4, 9, 8, 3).astype(dtype)
    corners, mirrored = jnp.array([[0, 0], [3, 2], [1, 2], [2, 1]]), jnp.array([False, True, False, True])

    def sliced(image, corner, mirror):
        crop = lax.dynamic_slice(image, (corner[0], corner[1], 0), (6, 6, 3))
        return jnp.where(mirror, crop[:, ::-1], crop)

    expected = jax.vmap(sliced)(images, corners, mirrored)
    assert jnp.array_equal(tpu.chosen_places(images, corners, mirrored, 6), expected)


def test_dense_of_towers():
    x, kernels = draws(3, 8), draws(2, 8, 5, seed=1)
    expected, backward = jax.vjp(lambda x, kernels: jnp.einsum("bi,tio->bto", x, kernels), x, kernels)
    found, products_backward = jax.vjp(tpu.dense_of_towers, x, kernels)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    for a, b in zip(products_backward(expected), backward(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
