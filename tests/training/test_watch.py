"""Warnings and errors about the losses of a run."""

import math

import pytest

from alexnet_jax.errors import RunError
from alexnet_jax.training.watch import Watch


def test_a_stuck_loss_is_reported_once():
    watch = Watch(classes=10, steps_per_epoch=20)
    warnings = [watch.see(step, 2.30) for step in range(300)]
    found = [w for w in warnings if w]
    assert len(found) == 1
    assert warnings.index(found[0]) == 99
    assert "ln(10) = 2.303" in found[0]
    assert "the variants std03 and small_bias" in found[0]


def test_a_network_that_learns_is_not_called_stuck():
    watch = Watch(classes=10, steps_per_epoch=20)
    assert not any(watch.see(step, 2.3 - 0.001 * step) for step in range(300))


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_the_run(loss):
    watch = Watch(classes=10, steps_per_epoch=20)
    with pytest.raises(RunError, match=f"the loss is {loss} at step 7"):
        watch.see(7, loss)
