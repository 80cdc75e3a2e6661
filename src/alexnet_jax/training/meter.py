"""The means of the metrics between two lines of the log, and the images per second."""

import time
from collections.abc import Callable
from typing import Any

import jax

from alexnet_jax.parallel import hosts
from alexnet_jax.training.log import Log
from alexnet_jax.training.tally import Tally
from alexnet_jax.training.watch import Watch

_QUEUED = 2  # updates in the queue of the device when the host adds another


class Meter:
    """A collector of the metrics of updates, which fetches them while the next update is computed.

    So the device never waits for the host. The images per second are those of the updates. The first update,
    which is compiled, and evaluations do not count.

    Args:
      log: log that receives the lines.
      watch: check that receives every loss.
      batch_size: number of images in an update.
      log_every: number of updates between two lines.
      last_step: last step of the run, which also has a line.
      tally: sums since the last line, from the checkpoint from which the run resumes.
      clock: function that returns the time in seconds.

    Attributes:
      tally: sums since the last line, as far as updates were fetched.
    """

    def __init__(
        self,
        log: Log,
        watch: Watch,
        batch_size: int,
        log_every: int,
        last_step: int,
        tally: Tally,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._log, self._watch, self._batch_size = log, watch, batch_size
        self._log_every, self._last_step, self._clock = log_every, last_step, clock
        self._pending: list[tuple[int, Any]] = []
        self.tally = tally
        self._seconds, self._timed = 0.0, 0
        self._began = clock()
        self._since: float | None = None  # None before the first update is done

    def restart(self) -> None:
        """Leave out the time since the last `fetch`, unless updates were added since then."""
        if not self._pending:
            self._since = self._clock()

    def add(self, step: int, metrics: Any) -> None:
        """Add the metrics of the update to ``step``, which may still be computed."""
        if self._pending and self._pending[-1][0] % self._log_every == 0:
            self.fetch()
        self._pending.append((step, metrics))
        if self._since is None:
            jax.block_until_ready(metrics)
            self._since, self._timed = self._clock(), -1
        if len(self._pending) > _QUEUED:  # or batches would pile up on the device
            jax.block_until_ready(self._pending[-_QUEUED][1])

    def fetch(self) -> Tally:
        """Wait for every update that was added, and log a line at the end of each interval.

        Returns:
          The sums since the last line.

        Raises:
          RunError: a loss is not finite.
        """
        if not self._pending:
            return self.tally  # the time since the last call was not spent on updates
        values = jax.device_get([metrics for _, metrics in self._pending])
        now = self._clock()
        assert self._since is not None, "`add` sets it"
        self._seconds += now - self._since
        self._since = now
        pending, self._pending = self._pending, []
        for (step, _), metrics in zip(pending, values, strict=True):
            loss, top1_error = float(metrics["loss"]), float(metrics["top1_error"])
            self.tally = self.tally.plus(loss, top1_error, self._watch.guesses(step, loss))
            self._timed += 1
            if warning := self._watch.warning(self.tally.stuck):
                hosts.say(warning)
            if step % self._log_every == 0 or step == self._last_step:
                timed, seconds = self._timed, self._seconds
                if not timed:  # only the first
                    timed, seconds = 1, now - self._began
                self._log.train(
                    step,
                    loss=self.tally.loss / self.tally.updates,
                    top1_error=self.tally.top1_error / self.tally.updates,
                    learning_rate=float(metrics["learning_rate"]),
                    images_per_second=timed * self._batch_size / seconds,
                )
                self.tally, self._timed, self._seconds = Tally(stuck=self.tally.stuck), 0, 0.0
        return self.tally
