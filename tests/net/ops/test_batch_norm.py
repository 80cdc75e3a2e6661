"""Batch normalization compared with its formula, and over the devices of a mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import PartitionSpec as P

from alexnet_jax.layers import BatchNorm
from alexnet_jax.net.ops import batch_norm
from alexnet_jax.parallel.axes import DATA
from alexnet_jax.parallel.mesh import make_mesh

DRAWS = np.random.default_rng(0)
X_TxBxHxWxC = DRAWS.normal(3, 2, (2, 12, 3, 4, 5)).astype(np.float32)
WEIGHTS = {kind: DRAWS.normal(1, 0.5, (2, 5)).astype(np.float32) for kind in ("scale", "bias", "mean")}
WEIGHTS["variance"] = DRAWS.uniform(0.5, 2, (2, 5)).astype(np.float32)


def by_formula(x_TxBxHxWxC, weights, group, epsilon):
    """Return the outputs, and the means over the groups of the mean and the variance, in float64."""
    towers, examples, *shape = x_TxBxHxWxC.shape
    x = x_TxBxHxWxC.astype(np.float64).reshape(towers, examples // group, -1, shape[-1])
    mean, variance = x.mean(2, keepdims=True), x.var(2, keepdims=True)
    scale, bias = (weights[kind][:, None, None].astype(np.float64) for kind in ("scale", "bias"))
    y = (x - mean) / np.sqrt(variance + epsilon) * scale + bias
    return y.reshape(x_TxBxHxWxC.shape), mean.mean((1, 2)), x.var(2, ddof=1).mean(1)


@pytest.mark.parametrize("group", [0, 12, 6, 4, 2])
def test_training_is_the_formula(group):
    layer = BatchNorm("norm", group=group, epsilon=0.01)
    ys, statistics = batch_norm.in_training(list(X_TxBxHxWxC), WEIGHTS, layer, None)
    y, mean, variance = by_formula(X_TxBxHxWxC, WEIGHTS, group or 12, 0.01)
    np.testing.assert_allclose(np.stack(ys), y, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(statistics["mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(statistics["variance"], variance, rtol=1e-4)


def test_units_are_normalized_too():
    x_TxBxC = X_TxBxHxWxC[:, :, 0, 0]
    ys, _ = batch_norm.in_training(list(x_TxBxC), WEIGHTS, BatchNorm("norm", group=6), None)
    y, _, _ = by_formula(x_TxBxC, WEIGHTS, 6, 1e-5)
    np.testing.assert_allclose(np.stack(ys), y, rtol=1e-4, atol=1e-5)


def test_at_test_the_running_statistics_are_used():
    ys = batch_norm.at_test(list(X_TxBxHxWxC), WEIGHTS, BatchNorm("norm", epsilon=0.01))
    scale, bias, mean, variance = (WEIGHTS[kind][:, None, None, None] for kind in WEIGHTS)
    y = (X_TxBxHxWxC - mean) / np.sqrt(variance + 0.01) * scale + bias
    np.testing.assert_allclose(np.stack(ys), y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("group", [0, 12, 6, 4, 3])
def test_any_number_of_devices_gives_the_same_outputs_and_gradients(group):
    """Also if a device has examples of two groups (4 of 12 examples on a device, in groups of 6)."""
    layer = BatchNorm("norm", group=group)
    factors = DRAWS.normal(size=X_TxBxHxWxC.shape).astype(np.float32)

    def weighted(x_TxBxHxWxC, weights, factors, axis):
        ys, statistics = batch_norm.in_training(list(x_TxBxHxWxC), weights, layer, axis)
        if axis and x_TxBxHxWxC.shape[1] % (group or 12) == 0:
            statistics = lax.pmean(statistics, axis)
        return jnp.sum(factors * jnp.stack(ys)), (jnp.stack(ys), statistics)

    learned = {kind: WEIGHTS[kind] for kind in ("scale", "bias")}
    alone = jax.grad(weighted, argnums=(0, 1), has_aux=True)(X_TxBxHxWxC, learned, factors, None)

    def on_each(x, weights, factors):
        copies = jax.tree.map(lambda w: lax.pcast(w, DATA, to="varying"), weights)
        (dx, dw), found = jax.grad(weighted, argnums=(0, 1), has_aux=True)(x, copies, factors, DATA)
        return (dx, jax.tree.map(lambda g: lax.psum(g, DATA), dw)), found

    split, whole = P(None, DATA), P()
    together = jax.jit(
        jax.shard_map(
            on_each,
            mesh=make_mesh(3, 1),
            in_specs=(split, whole, split),
            out_specs=((split, whole), (split, whole)),
        )
    )(X_TxBxHxWxC, learned, factors)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4), together, alone)


def test_sums_are_in_float32_for_a_network_in_bfloat16():
    x = jax.random.normal(jax.random.key(0), (4, 64, 64, 3), jnp.bfloat16)
    weights = {kind: jnp.ones((1, 3)) for kind in ("scale", "bias")}
    (y,), statistics = batch_norm.in_training([x], weights, BatchNorm("norm"), None)
    assert y.dtype == jnp.bfloat16
    exact_NxC = np.asarray(x, np.float64).reshape(-1, 3)
    np.testing.assert_allclose(statistics["mean"][0], exact_NxC.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(statistics["variance"][0], exact_NxC.var(axis=0, ddof=1), rtol=1e-5)
