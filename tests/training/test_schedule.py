"""The learning rate of each array, step by step, and its reduction by the plateau schedule."""

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from alexnet_jax.config import base
from alexnet_jax.training.schedule import Plateau, learning_rates

PARAMS = {name: {"kernel": 0, "bias": 0} for name in ("conv", "fc")}


@pytest.fixture
def config():
    c = base()
    c.optimizer.learning_rate, c.optimizer.bias_learning_rate = 0.01, 0.02
    return c


def rate(config, step, reductions=0, name="conv", kind="kernel"):
    found = jax.jit(lambda *when: learning_rates(config, PARAMS, 100, *when))(step, reductions)
    return float(found[name][kind])


def test_steps_reduce_at_their_boundaries(config):
    config.schedule.name, config.schedule.boundaries = "steps", (1.0, 2.5)
    found = [rate(config, step) for step in (0, 99, 100, 249, 250, 10_000)]
    np.testing.assert_array_equal(found, np.float32([0.01, 0.01, 0.001, 0.001, 0.0001, 0.0001]))


def test_biases_and_layers_may_have_their_own_schedules(config):
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
    schedule.max_reductions = 4  # changed by hand: the run can resume
    assert not state.ended(schedule)


def test_plateau_ignores_an_improvement_below_the_minimum(config):
    schedule = config.schedule
    schedule.name, schedule.patience, schedule.min_improvement = "plateau", 1, 0.01
    state = Plateau().after(0.5, schedule)
    assert state.after(0.495, schedule).reductions == 1
    assert state.after(0.48, schedule).reductions == 0


def test_cosine_falls_to_zero_after_the_warm_up(config):
    config.schedule.name, config.schedule.warmup_epochs, config.num_epochs = "cosine", 2.0, 10.0
    np.testing.assert_allclose([rate(config, 0), rate(config, 99)], [0.01 / 200, 0.005], rtol=1e-6)
    found = [rate(config, step) for step in (199, 200, 400, 600, 1000)]
    half = np.pi * np.array([0, 0, 0.25, 0.5, 1.0])
    np.testing.assert_allclose(found, 0.01 * (1 + np.cos(half)) / 2, rtol=1e-5, atol=1e-9)
    config.num_steps = 600  # the length of the run, also if it is set in steps
    assert rate(config, 600) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("name", ["plateau", "steps", "constant"])
def test_every_schedule_can_warm_up(config, name):
    config.schedule.name, config.schedule.boundaries = name, (3.0,)
    before = [rate(config, step) for step in (200, 350)]
    config.schedule.warmup_epochs = 1.0
    np.testing.assert_allclose(rate(config, 49, kind="bias"), 0.01, rtol=1e-6)
    assert [rate(config, step) for step in (200, 350)] == before


def test_rates_scale_with_the_batch(config):
    config.schedule.name = "constant"
    config.optimizer.layers = ConfigDict({"fc": {"learning_rate": 0.1}})
    config.batch_size, config.optimizer.reference_batch_size = 1024, 128
    rates = [rate(config, 0), rate(config, 0, kind="bias"), rate(config, 0, name="fc")]
    np.testing.assert_allclose(rates, [0.08, 0.16, 0.8], rtol=1e-6)


def test_constant_never_reduces(config):
    config.schedule.name, config.schedule.boundaries = "constant", (1.0,)
    assert rate(config, 10_000, reductions=2) == np.float32(0.01)


def test_an_epoch_after_the_last_possible_step_never_comes(config):
    config.schedule.name, config.schedule.boundaries = "steps", (10.0**6,)
    config.optimizer.layers = ConfigDict({"conv": {"frozen_epochs": 10.0**6}})
    found = jax.jit(lambda step: learning_rates(config, PARAMS, 10**5, step, 0))(2**31 - 2)
    assert float(found["conv"]["kernel"]) == np.float32(0.01)
