"""Scores of log-probabilities, compared with values computed by hand."""

import numpy as np

from alexnet_jax.training import scores


def test_score_gives_a_constant_network_no_credit():
    log_probs = np.full((20, 10), np.log(0.1), np.float32)
    found = scores.score([log_probs], np.arange(20) % 10)
    assert np.asarray(found["top1_error"]).mean() == 0.9
    assert np.asarray(found["top5_error"]).mean() == 0.5
    np.testing.assert_allclose(found["loss"], np.log(10), rtol=1e-6)


def test_score_counts_nan_as_wrong():
    log_probs = np.full((3, 10), np.nan, np.float32)
    log_probs[1] = -2.3
    log_probs[1, 0] = np.nan
    found = scores.score([log_probs], np.array([0, 1, 2]))
    assert np.asarray(found["top1_error"]).all()


def test_the_mean_is_that_of_probabilities_not_of_logarithms():
    probs = np.random.default_rng(0).dirichlet(np.ones(4), size=(3, 5)).astype(np.float32)
    mean = np.exp(scores.mean_log_probabilities(np.log(probs)))
    np.testing.assert_allclose(mean, probs.mean(0), rtol=1e-5)
