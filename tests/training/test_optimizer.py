"""The update of section 5 compared with its formula; other optimizers, and every recipe."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from alexnet_jax import build, get_config
from alexnet_jax.config import base
from alexnet_jax.config.recipe import recipes
from alexnet_jax.layers import with_classes
from alexnet_jax.net.model import abstract_params
from alexnet_jax.net.shapes import trainable
from alexnet_jax.parallel.mesh import make_mesh
from alexnet_jax.training.optimizer import optimizer
from alexnet_jax.training.schedule import learning_rates
from tests.conftest import every_variant


@pytest.fixture
def config():
    c = base()
    c.optimizer.learning_rate, c.optimizer.bias_learning_rate = 0.01, 0.02
    c.optimizer.weight_decay, c.optimizer.bias_weight_decay = 5e-4, 0.0
    c.optimizer.layers = ConfigDict({"fc": {"weight_decay": 0.5, "learning_rate": 0.1}})
    return c


PARAMS = {
    name: {"kernel": np.full((2, 3), 0.5, np.float32), "bias": np.ones(3, np.float32)}
    for name in ("conv", "fc")
}


def test_update_is_the_papers_over_a_change_of_the_learning_rate(config):
    config.schedule.name, config.schedule.boundaries = "steps", (2.0,)
    tx = optimizer(config, PARAMS)
    params, state = PARAMS, tx.init(PARAMS)
    decay = {"conv": {"kernel": 5e-4, "bias": 0.0}, "fc": {"kernel": 0.5, "bias": 0.0}}
    rate = {"conv": {"kernel": 0.01, "bias": 0.02}, "fc": {"kernel": 0.1, "bias": 0.02}}
    draws = np.random.default_rng(0)
    v = {n: {k: np.zeros_like(w, np.float64) for k, w in ws.items()} for n, ws in PARAMS.items()}
    w = {n: {k: w.astype(np.float64) for k, w in ws.items()} for n, ws in PARAMS.items()}
    # The learning rate is part of the velocity, so the old one fades away.
    for step, factor in enumerate((1.0, 1.0, 0.1, 0.1)):
        gradients = {n: {k: draws.normal(size=x.shape) for k, x in ws.items()} for n, ws in w.items()}
        g32 = {n: {k: jnp.float32(g) for k, g in gs.items()} for n, gs in gradients.items()}
        rates = learning_rates(config, PARAMS, 1, jnp.int32(step), jnp.int32(0))
        updates, state = tx.update(g32, state, params, rates=rates)
        params = optax.apply_updates(params, updates)
        for n in w:
            for k in w[n]:
                lr = factor * rate[n][k]
                v[n][k] = 0.9 * v[n][k] - decay[n][k] * lr * w[n][k] - lr * gradients[n][k]
                w[n][k] = w[n][k] + v[n][k]
    for n in w:
        for k in w[n]:
            np.testing.assert_allclose(params[n][k], w[n][k], rtol=1e-5)
            np.testing.assert_allclose(optax.tree.get(state, "trace")[n][k], v[n][k], rtol=1e-4)


def test_adamw_decays_each_array_apart_from_its_gradient(config):
    config.optimizer.name = "adamw"
    tx = optimizer(config, PARAMS)
    ones = jax.tree.map(jnp.ones_like, PARAMS)
    rates = learning_rates(config, PARAMS, 1, jnp.int32(0), jnp.int32(0))
    updates, _ = tx.update(ones, tx.init(PARAMS), PARAMS, rates=rates)
    np.testing.assert_allclose(updates["conv"]["bias"], -0.02, rtol=1e-5)
    np.testing.assert_allclose(updates["fc"]["kernel"], -0.1 * (1 + 0.5 * 0.5), rtol=1e-5)


@pytest.mark.parametrize("recipe", [r for r in recipes() if r.verb == "train"], ids=lambda r: r.name)
def test_every_shipped_recipe_can_update(recipe):
    """With any weight decays, also none, and any settings of single layers."""
    for path in every_variant(recipe):
        config = get_config(path)
        config.net.layers = with_classes(config.net.layers, config.net.layers[-1].classes or 5)
        params = trainable(abstract_params(build(config)))
        tx = optimizer(config, params)
        rates = jax.eval_shape(lambda c=config, p=params: learning_rates(c, p, 100, 0, 0))
        state = jax.eval_shape(tx.init, params)

        def update(gradients, state, params, rates, tx=tx):
            return tx.update(gradients, state, params, rates=rates)

        on_mesh = jax.shard_map(update, mesh=make_mesh(1, 1), in_specs=P(), out_specs=P(), check_vma=False)
        updates, after = jax.eval_shape(on_mesh, params, state, params, rates)
        assert jax.tree.map(jnp.shape, updates) == jax.tree.map(jnp.shape, params)
        assert jax.tree.structure(after) == jax.tree.structure(state)


def test_the_states_structure_does_not_depend_on_the_decays(config):
    """So a run may resume with other decays, and with none."""
    some = jax.tree.structure(optimizer(config, PARAMS).init(PARAMS))
    config.optimizer.weight_decay, config.optimizer.layers = 0.0, ConfigDict()
    assert jax.tree.structure(optimizer(config, PARAMS).init(PARAMS)) == some
