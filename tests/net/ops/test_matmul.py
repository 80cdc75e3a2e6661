"""Matrix products, against NumPy and in oneDNN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.layers import LRN
from alexnet_jax.net.ops.lrn import lrn
from alexnet_jax.net.ops.matmul import matmul, rounded_matmul
from alexnet_jax.parallel.mesh import local_mesh
from alexnet_jax.runtime.compiler import LEAST, compiler_options
from tests.conftest import IN_ONEDNN

A, B = (np.random.default_rng(i).normal(size=(256, 256)).astype(jnp.bfloat16) for i in (0, 1))


def compiled(function, *args):
    """Compile a function as networks are, in oneDNN where that is possible."""
    return jax.jit(function, compiler_options=compiler_options(local_mesh(), LEAST)).lower(*args).compile()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_products_against_numpy(dtype):
    a, b = (x.astype(dtype) for x in (A, B))
    expected = a.astype(np.float32) @ b.astype(np.float32)
    assert (matmul(a, b).dtype, rounded_matmul(a, b).dtype) == (jnp.float32, dtype)
    np.testing.assert_allclose(matmul(a, b), expected, atol=1e-4)
    tolerance = 1e-6 if dtype == jnp.float32 else 2**-8
    rounded = compiled(rounded_matmul, a, b)(a, b).astype(jnp.float32)
    np.testing.assert_allclose(rounded, expected, rtol=tolerance, atol=1e-4)


def test_sums_of_bfloat16_are_float32():
    # A sum in bfloat16 would stop at 256.
    a, b = (jnp.ones(shape, jnp.bfloat16) for shape in ((8, 4096), (4096, 8)))
    for function in (matmul, rounded_matmul):
        assert (compiled(function, a, b)(a, b) == 4096).all()


def test_what_is_added_to_a_product_is_not_rounded():
    def add(a, b, c):
        return c + rounded_matmul(a, b)

    c = np.random.default_rng(2).normal(1000, 1, size=(256, 256)).astype(np.float32)
    expected = c + A.astype(np.float32) @ B.astype(np.float32)
    # A product is below 128, and so rounded by up to 0.25. A sum would be rounded by up to 4.
    np.testing.assert_allclose(compiled(add, A, B, c)(A, B, c), expected, atol=0.5)


@pytest.mark.skipif(not IN_ONEDNN, reason="XLA has no oneDNN on this machine or in this release")
def test_products_and_the_sums_of_lrn_run_in_onednn():
    layer = LRN("norm")
    for program in (compiled(rounded_matmul, A, B), compiled(lambda x: lrn(x, layer), A)):
        (product,) = (line for line in program.as_text().splitlines() if "__onednn$matmul" in line)
        assert "(bf16[" in product
