"""Ten steps of the full program are the same on every mesh."""

import jax
import numpy as np
import pytest

from alexnet_jax import build, get_config, learning, step
from alexnet_jax.augment import statistics
from alexnet_jax.cache import open_cache
from alexnet_jax.learning import Plateau
from alexnet_jax.loader import training_batches
from alexnet_jax.mesh import make_mesh
from tests.conftest import RECIPES


def ten_steps(config, shape):
    cache = open_cache(config.data, print)
    mesh = make_mesh(*shape)
    model = build(config)
    state = step.new_state(model, config, mesh)
    update = step.train_step(model, config, mesh)
    info = cache.info
    stats = statistics(info.mean_image, info.color_covariance, "deviation", mesh)
    rates = jax.tree.map(np.float32, learning.rates(config.learning, state.params, 0, 80, Plateau()))
    losses = []
    for images, labels in training_batches(cache, config, mesh, 0, 10):
        state, metrics = update(state, images, labels, rates, np.float32(config.data.color_noise), stats)
        losses.append(float(metrics["loss"]))
    return losses, jax.device_get(state)


@pytest.fixture(scope="module")
def one_device(cache_dir):
    config = get_config(f"{RECIPES / 'tiny.py'}")
    config.data.cache_dir = cache_dir
    return ten_steps(config, (1, 1))


@pytest.mark.parametrize("parallelism", ["towers", "one_weird_trick"])
@pytest.mark.parametrize("shape", [(2, 1), (1, 2), (2, 2), (4, 2)])
def test_same_numbers_on_every_mesh(tiny, one_device, shape, parallelism):
    tiny.parallelism = parallelism
    losses, state = ten_steps(tiny, shape)
    expected_losses, expected = one_device
    # float32 rounds to 6e-8; sums in another order, over ten steps, stay within some hundred of that
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    for ours, theirs in zip(jax.tree.leaves(state), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_the_first_steps_are_what_they_were(one_device):
    """If this fails, runs can't be gone on with: something draws, or computes, other numbers than before.

    Where that was meant, write it into the CHANGELOG and the new numbers here.
    """
    np.testing.assert_allclose(one_device[0][:3], GOLDEN, rtol=1e-4)


GOLDEN = [2.315044, 2.296239, 2.294048]


def test_score_gives_a_constant_net_no_credit():
    log_probs = np.full((20, 10), np.log(0.1), np.float32)
    found = step.score([log_probs], np.arange(20) % 10)
    assert np.asarray(found["top1_error"]).mean() == 0.9
    assert np.asarray(found["top5_error"]).mean() == 0.5
    np.testing.assert_allclose(found["loss"], np.log(10), rtol=1e-6)


def test_score_gives_what_is_no_number_no_credit():
    log_probs = np.full((3, 10), np.nan, np.float32)
    log_probs[1] = -2.3
    log_probs[1, 0] = np.nan
    found = step.score([log_probs], np.array([0, 1, 2]))
    assert np.asarray(found["top1_error"]).all()


def test_the_mean_of_probabilities_not_of_logarithms():
    probs = np.random.default_rng(0).dirichlet(np.ones(4), size=(3, 5)).astype(np.float32)
    mean = np.exp(step.mean_log_probabilities(np.log(probs)))
    np.testing.assert_allclose(mean, probs.mean(0), rtol=1e-5)


def test_finite_is_noticed():
    assert step.all_finite({"a": np.ones(3, np.float32), "n": np.int32(1)})
    assert not step.all_finite({"a": np.array([1, np.inf], np.float32)})
