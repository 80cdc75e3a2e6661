"""The sampler is a pure function of (seed, step)."""

import numpy as np

from alexnet_jax.data.sampler import batch_rows, permutation


def test_the_permutation_never_changes():
    # If this fails, runs can't be resumed: they would see the examples in another order.
    assert permutation(10, seed=1, epoch=2).tolist() == GOLDEN


GOLDEN = [4, 2, 0, 6, 1, 5, 9, 8, 7, 3]


def test_an_epoch_has_every_example_once_except_the_incomplete_batch():
    rows = np.concatenate([batch_rows(103, 10, seed=0, step=step) for step in range(10)])
    assert len(set(rows.tolist())) == 100


def test_epochs_and_seeds_differ():
    first = batch_rows(100, 10, seed=0, step=0)
    assert first.tolist() != batch_rows(100, 10, seed=0, step=10).tolist()
    assert first.tolist() != batch_rows(100, 10, seed=1, step=0).tolist()


def test_without_reshuffle_every_epoch_is_the_first():
    first, second = (batch_rows(100, 10, seed=0, step=step, reshuffle=False) for step in (3, 13))
    assert first.tolist() == second.tolist()
