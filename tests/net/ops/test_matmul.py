"""The matrix product with a result in float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.net.ops.matmul import matmul
from alexnet_jax.net.ops.versions import definitions
from alexnet_jax.parallel.mesh import local_mesh
from alexnet_jax.runtime.compiler import LEAST, compiler_options


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_it_equals_the_definition_up_to_the_rounding_of_its_operands_type(dtype):
    a, b = (
        jax.random.normal(jax.random.key(i), shape, dtype)
        for i, shape in enumerate([(3, 8, 40), (3, 40, 16)])
    )
    with definitions():
        defined = matmul(a, b)
    product = matmul(a, b)
    assert defined.dtype == product.dtype == jnp.float32
    np.testing.assert_allclose(product, defined, rtol=0 if dtype == jnp.float32 else 2**-8)


def test_what_is_added_to_a_product_keeps_its_precision_in_onednn():
    # oneDNN adds in the product's type, so XLA rounds what is added to bfloat16 if it fuses the two.
    a, b = (jax.random.normal(jax.random.key(i), (256, 256), jnp.bfloat16) for i in (0, 1))
    added = 1 + 2**-12 * jax.random.normal(jax.random.key(2), (256, 256))
    options = compiler_options(local_mesh(), LEAST)
    both = jax.jit(lambda a, b, added: 1000 * added + matmul(a, b), compiler_options=options)(a, b, added)
    np.testing.assert_allclose(both, 1000 * added + matmul(a, b), atol=0.2)
