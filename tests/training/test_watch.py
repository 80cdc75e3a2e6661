"""Warnings and errors about the losses of a run."""

import math

import pytest

from alexnet_jax.errors import RunError
from alexnet_jax.training.tally import Tally
from alexnet_jax.training.watch import Watch


def warnings(losses):
    """Return the steps with a warning, and the warnings."""
    watch, tally, found = Watch(classes=10, steps_per_epoch=20), Tally(), {}
    for step, loss in enumerate(losses, 1):
        tally = tally.plus(loss, 0.9, watch.guesses(step, loss))
        if text := watch.warning(tally.stuck):
            found[step] = text
    return found


def test_a_stuck_loss_is_reported_once():
    found = warnings([2.30] * 300)
    assert list(found) == [100]
    assert "ln(10) = 2.303" in found[100]
    assert "the variants std03 and small_bias" in found[100]


def test_a_network_that_learns_is_not_called_stuck():
    assert not warnings([2.3 - 0.001 * step for step in range(300)])
    assert not warnings(([2.3] * 99 + [2.0]) * 3)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_the_run(loss):
    watch = Watch(classes=10, steps_per_epoch=20)
    with pytest.raises(RunError, match=f"the loss is {loss} at step 7"):
        watch.guesses(7, loss)
