"""Section 5's update against the formula, and the schedules."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from alexnet_jax.config import base
from alexnet_jax.training import optimizer as optimizer_lib
from alexnet_jax.training.optimizer import Plateau, learning_rates, optimizer, velocity


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
    tx = optimizer(config, PARAMS, steps_per_epoch=1)
    params, state = PARAMS, tx.init(PARAMS)
    decay = {"conv": {"kernel": 5e-4, "bias": 0.0}, "fc": {"kernel": 0.5, "bias": 0.0}}
    rate = {"conv": {"kernel": 0.01, "bias": 0.02}, "fc": {"kernel": 0.1, "bias": 0.02}}
    draws = np.random.default_rng(0)
    v = {n: {k: np.zeros_like(w, np.float64) for k, w in ws.items()} for n, ws in PARAMS.items()}
    w = {n: {k: w.astype(np.float64) for k, w in ws.items()} for n, ws in PARAMS.items()}
    # The learning rate sits inside the velocity: the old one fades away.
    for step, factor in enumerate((1.0, 1.0, 0.1, 0.1)):
        gradients = {n: {k: draws.normal(size=x.shape) for k, x in ws.items()} for n, ws in w.items()}
        g32 = {n: {k: jnp.float32(g) for k, g in gs.items()} for n, gs in gradients.items()}
        updates, state = tx.update(g32, state, params, step=jnp.int32(step), reductions=jnp.int32(0))
        params = optax.apply_updates(params, updates)
        for n in w:
            for k in w[n]:
                lr = factor * rate[n][k]
                v[n][k] = 0.9 * v[n][k] - decay[n][k] * lr * w[n][k] - lr * gradients[n][k]
                w[n][k] = w[n][k] + v[n][k]
    for n in w:
        for k in w[n]:
            np.testing.assert_allclose(params[n][k], w[n][k], rtol=1e-5)
            np.testing.assert_allclose(velocity(state)[n][k], v[n][k], rtol=1e-4)


def rate(config, step, reductions=0, name="conv", kind="kernel"):
    found = jax.jit(lambda *when: learning_rates(config, PARAMS, 100, *when))(step, reductions)
    return float(found[name][kind])


def test_steps_reduce_at_their_boundaries(config):
    config.schedule.name, config.schedule.boundaries = "steps", (1.0, 2.5)
    found = [rate(config, step) for step in (0, 99, 100, 249, 250, 10_000)]
    np.testing.assert_array_equal(found, np.float32([0.01, 0.01, 0.001, 0.001, 0.0001, 0.0001]))


def test_biases_and_layers_may_have_schedules_of_their_own(config):
    config.schedule.name, config.schedule.boundaries, config.schedule.scale_biases = "steps", (1.0,), False
    config.optimizer.layers = ConfigDict({"conv": {"boundaries": (1.0, 2.0), "frozen_epochs": 3.0}})
    assert rate(config, 250, kind="bias") == np.float32(0.02)
    np.testing.assert_allclose(rate(config, 250), 0.0001)
    np.testing.assert_allclose(rate(config, 250, name="fc"), 0.001)
    assert rate(config, 299) > 0
    assert rate(config, 300) == rate(config, 300, kind="bias") == 0


def test_plateau_reduces_three_times_and_then_ends(config):
    schedule = config.schedule
    schedule.name, schedule.patience = "plateau", 2
    state = Plateau()
    reductions = []
    for error in [0.5, 0.4, 0.4, 0.41, 0.3, *[0.3] * 6]:
        state = state.after(error, schedule)
        reductions.append(state.reductions)
    assert reductions == [0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 3]
    assert state.ended(schedule)
    np.testing.assert_allclose(rate(config, 0, state.reductions), 1e-5)
    schedule.max_reductions = 4  # by hand: the run resumes
    assert not state.ended(schedule)


def test_plateau_needs_more_than_noise(config):
    schedule = config.schedule
    schedule.name, schedule.patience, schedule.min_improvement = "plateau", 1, 0.01
    state = Plateau().after(0.5, schedule)
    assert state.after(0.495, schedule).reductions == 1
    assert state.after(0.48, schedule).reductions == 0


def test_constant_never_reduces(config):
    config.schedule.name, config.schedule.boundaries = "constant", (1.0,)
    assert rate(config, 10_000, reductions=2) == np.float32(0.01)


def test_another_optimizer_is_one_function(config, monkeypatch):
    """Adam, written as docs/extending.md would: decay and learning rates of each array are applied to it."""

    def adam(config, decay, by_rates):
        return optax.chain(optax.scale_by_adam(), decay, by_rates)

    monkeypatch.setitem(optimizer_lib.OPTIMIZERS, "adam", adam)
    config.optimizer.name = "adam"
    tx = optimizer(config, PARAMS, steps_per_epoch=1)
    ones = jax.tree.map(jnp.ones_like, PARAMS)
    updates, state = tx.update(ones, tx.init(PARAMS), PARAMS, step=jnp.int32(0), reductions=jnp.int32(0))
    np.testing.assert_allclose(updates["conv"]["bias"], -0.02, rtol=1e-5)
    np.testing.assert_allclose(updates["fc"]["kernel"], -0.1 * (1 + 0.5 * 0.5), rtol=1e-5)
    assert velocity(state) is None
