"""Section 5's update against the formula, and the schedules."""

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from alexnet_jax.config.recipe import base
from alexnet_jax.training.optimizer import Plateau, optimizer, rates, turns, velocity


@pytest.fixture
def learning():
    settings = base().learning
    settings.rate, settings.bias_rate = 0.01, 0.02
    settings.weight_decay, settings.bias_decay = 5e-4, 0.0
    settings.layers = ConfigDict({"fc": {"weight_decay": 0.5, "rate": 0.1}})
    return settings


PARAMS = {
    name: {"kernel": np.full((2, 3), 0.5, np.float32), "bias": np.ones(3, np.float32)}
    for name in ("conv", "fc")
}


def test_update_is_the_papers_over_a_change_of_the_rate(learning):
    tx = optimizer(learning, PARAMS)
    params, state = PARAMS, tx.init(PARAMS)
    decay = {"conv": {"kernel": 5e-4, "bias": 0.0}, "fc": {"kernel": 0.5, "bias": 0.0}}
    rate = {"conv": {"kernel": 0.01, "bias": 0.02}, "fc": {"kernel": 0.1, "bias": 0.02}}
    draws = np.random.default_rng(0)
    v = {n: {k: np.zeros_like(w, np.float64) for k, w in ws.items()} for n, ws in PARAMS.items()}
    w = {n: {k: w.astype(np.float64) for k, w in ws.items()} for n, ws in PARAMS.items()}
    for factor in (1.0, 1.0, 0.1, 0.1):  # the rate sits inside the velocity: the old one fades away
        gradients = {n: {k: draws.normal(size=x.shape) for k, x in ws.items()} for n, ws in w.items()}
        now = {n: {k: np.float32(factor * r) for k, r in rs.items()} for n, rs in rate.items()}
        g32 = {n: {k: jnp.float32(g) for k, g in gs.items()} for n, gs in gradients.items()}
        updates, state = tx.update(g32, state, params, rates=now)
        params = {n: {k: params[n][k] + u for k, u in us.items()} for n, us in updates.items()}
        for n in w:
            for k in w[n]:
                lr = factor * rate[n][k]
                v[n][k] = 0.9 * v[n][k] - decay[n][k] * lr * w[n][k] - lr * gradients[n][k]
                w[n][k] = w[n][k] + v[n][k]
    for n in w:
        for k in w[n]:
            np.testing.assert_allclose(params[n][k], w[n][k], rtol=1e-5)
            np.testing.assert_allclose(velocity(state)[n][k], v[n][k], rtol=1e-4)


def kernel_rate(learning, step, plateau=None, name="conv", kind="kernel"):
    return rates(learning, PARAMS, step, 100, plateau or Plateau())[name][kind]


def test_steps_cut_at_their_epochs(learning):
    learning.schedule, learning.cuts = "steps", (1.0, 2.5)
    found = [kernel_rate(learning, step) for step in (0, 99, 100, 249, 250)]
    np.testing.assert_allclose(found, [0.01, 0.01, 0.001, 0.001, 0.0001])


def test_biases_and_layers_may_have_schedules_of_their_own(learning):
    learning.schedule, learning.cuts, learning.cuts_biases = "steps", (1.0,), False
    learning.layers = ConfigDict({"conv": {"cuts": (1.0, 2.0), "frozen_epochs": 3.0}})
    assert kernel_rate(learning, 250, kind="bias") == 0.02
    np.testing.assert_allclose(kernel_rate(learning, 250), 0.0001)
    np.testing.assert_allclose(kernel_rate(learning, 250, name="fc"), 0.001)
    assert kernel_rate(learning, 300) == kernel_rate(learning, 300, kind="bias") == 0


def test_plateau_cuts_three_times_and_then_ends(learning):
    learning.schedule, learning.patience = "plateau", 2
    state = Plateau()
    cuts = []
    for error in [0.5, 0.4, 0.4, 0.41, 0.3, *[0.3] * 6]:
        state = state.after(error, learning)
        cuts.append(state.cuts)
    assert cuts == [0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 3]
    assert state.ended(learning)
    learning.max_cuts = 4  # as by hand: the run goes on
    assert not state.ended(learning)
    np.testing.assert_allclose(kernel_rate(learning, 0, state), 1e-5)


def test_plateau_needs_more_than_noise(learning):
    learning.schedule, learning.patience, learning.min_improvement = "plateau", 1, 0.01
    state = Plateau().after(0.5, learning)
    assert state.after(0.495, learning).cuts == 1
    assert state.after(0.48, learning).cuts == 0


def test_constant_never_cuts(learning):
    learning.schedule, learning.cuts = "constant", (1.0,)
    assert kernel_rate(learning, 10_000, Plateau(cuts=2)) == 0.01


def test_rates_change_at_their_turns_and_nowhere_else(learning):
    learning.schedule, learning.cuts = "steps", (0.5, 4.0)
    learning.layers = ConfigDict({"conv": {"cuts": (1.0, 2.25), "frozen_epochs": 3.0}})
    found = [rates(learning, PARAMS, step, 100, Plateau()) for step in range(500)]
    assert {i for i in range(1, 500) if found[i] != found[i - 1]} == turns(learning, 100)
