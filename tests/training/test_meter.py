"""The images per second and the means that a run logs, on a simulated device."""

import math

import numpy as np
import pytest

from alexnet_jax.errors import RunError
from alexnet_jax.training.meter import Meter
from alexnet_jax.training.tally import Tally
from alexnet_jax.training.watch import Watch

COMPILING, UPDATE = 100.0, 0.5  # seconds


class Clock:
    """A clock that runs only while the host waits."""

    now = 0.0

    def __call__(self):
        return self.now


class Later:
    """A number that the device has computed at a given time, and for which the host waits."""

    def __init__(self, value, clock, done):
        self.value, self.clock, self.done = value, clock, done

    def block_until_ready(self):
        self.clock.now = max(self.clock.now, self.done)
        return self

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.block_until_ready().value, dtype)


class Lines:
    """A log that remembers its lines."""

    def __init__(self):
        self.lines = []

    def train(self, step, **fields):
        self.lines.append({"step": step} | fields)


class Run:
    """A meter and a device that computes one update after another."""

    def __init__(self, log_every, last_step, tally=Tally()):  # noqa: B008  (it can't be changed)
        self.clock, self.log, self.free = Clock(), Lines(), COMPILING
        watch = Watch(classes=10, steps_per_epoch=1)
        self.meter = Meter(self.log, watch, 8, log_every, last_step, tally, self.clock)

    def update(self, step, loss=1.0, rate=0.1):
        self.free = max(self.free, self.clock.now) + UPDATE
        values = {"loss": loss, "top1_error": loss / 10, "learning_rate": rate}
        self.meter.add(step, {name: Later(value, self.clock, self.free) for name, value in values.items()})


def test_images_per_second_are_those_of_the_updates_without_compilation():
    run = Run(log_every=3, last_step=7)
    for step in range(1, 8):
        run.update(step)
        if step > 1:
            assert run.clock.now < run.free, "the device had nothing to do"
    run.meter.fetch()
    assert [line["step"] for line in run.log.lines] == [3, 6, 7]
    assert [line["images_per_second"] for line in run.log.lines] == pytest.approx([8 / UPDATE] * 3)


def test_images_per_second_leave_out_the_time_between_fetch_and_restart():
    run = Run(log_every=4, last_step=8)
    for step in range(1, 9):
        run.update(step)
        if step % 2 == 0:  # an evaluation, also in the middle of an interval
            run.meter.fetch()
            run.clock.now += 1000
        run.meter.restart()
    assert [line["images_per_second"] for line in run.log.lines] == pytest.approx([8 / UPDATE] * 2)


def test_a_run_of_one_update_counts_its_compilation():
    run = Run(log_every=10, last_step=1)
    run.update(1)
    run.meter.fetch()
    assert run.log.lines[0]["images_per_second"] == pytest.approx(8 / (COMPILING + UPDATE))


def test_a_line_has_the_means_since_the_previous_line_and_the_last_learning_rate():
    run = Run(log_every=2, last_step=4)
    for step, (loss, rate) in enumerate([(4, 0.1), (2, 0.1), (1, 0.1), (2, 0.01)], start=1):
        run.update(step, loss, rate)
    run.meter.fetch()
    found = [(line["loss"], line["top1_error"], line["learning_rate"]) for line in run.log.lines]
    np.testing.assert_allclose(found, [(3, 0.3, 0.1), (1.5, 0.15, 0.01)])


def test_the_tally_of_an_interrupted_run_gives_the_same_lines_and_warning(capsys):
    losses = np.float32([0.1, 0.7, 0.3, *[math.log(10)] * 105])

    def lines(*ends):
        found, done, tally = [], 0, Tally()
        for end in ends:
            run = Run(log_every=4, last_step=len(losses), tally=tally)
            for step in range(done + 1, end + 1):
                run.update(step, losses[step - 1])
            run.meter.fetch()
            found += [(line["step"], line["loss"], line["top1_error"]) for line in run.log.lines]
            done, tally = end, run.meter.tally
        return found, capsys.readouterr().out

    undisturbed = lines(len(losses))
    assert "ln(10)" in undisturbed[1]
    assert lines(1, 2, 7, 8, 50, len(losses)) == undisturbed


@pytest.mark.parametrize("value", [-1, True, "1", None, math.nan, math.inf, 10**400, [1]])
@pytest.mark.parametrize("name", ["updates", "stuck"])
def test_a_tally_of_another_type_is_refused(name, value):
    with pytest.raises(ValueError, match=name):
        Tally(**{name: value})


def test_the_watch_sees_every_loss(capsys):
    run = Run(log_every=1000, last_step=1000)
    for step in range(1, 102):
        run.update(step, math.log(10))
    run.meter.fetch()
    assert capsys.readouterr().out.count("ln(10)") == 1
    run.update(102, math.nan)
    with pytest.raises(RunError, match="the loss is nan at step 102"):
        run.meter.fetch()
