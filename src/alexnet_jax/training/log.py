"""What a run tells: a bar on a terminal and lines elsewhere, ``metrics.jsonl``, TensorBoard."""

import json
import math
import sys
import time
from collections import deque
from typing import Any

import jax
import numpy as np
from etils import epath
from tensorboardX import SummaryWriter
from tqdm import tqdm

from alexnet_jax import files
from alexnet_jax.errors import RunError
from alexnet_jax.parallel import hosts
from alexnet_jax.training.scores import Result


class Progress:
    """The log of one run in a workdir; what a resumed run does again is forgotten first.

    Of several processes the first one keeps it.
    """

    def __init__(self, workdir: epath.Path, step: int, total_steps: int, steps_per_epoch: int) -> None:
        self._steps_per_epoch = steps_per_epoch
        self._metrics = workdir / "metrics.jsonl"
        self._writes = hosts.is_first()
        if self._writes:
            _forget_after(self._metrics, step)
        self._tensorboard = SummaryWriter(str(workdir), purge_step=step + 1, write_to_disk=self._writes)
        self._bar = tqdm(
            initial=step,
            total=total_steps,
            disable=not (self._writes and sys.stderr.isatty()),
            bar_format="{percentage:3.0f}% |{bar}| {n}/{total} steps, {remaining} left{postfix}",
            dynamic_ncols=True,
        )

    def train(self, step: int, loss: float, top1_error: float, rate: float, images_per_second: float) -> None:
        """The mean over the updates since the last such line."""
        record = {
            "loss": loss,
            "top1_error": top1_error,
            "learning_rate": rate,
            "images_per_second": images_per_second,
        }
        self._write("train", step, {}, record)
        text = f"loss {loss:.4f}, error {top1_error:.2%}, rate {rate:.2g}, {images_per_second:,.0f} images/s"
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(step - self._bar.n)
        if self._bar.disable:
            hosts.say(f"step {step} (epoch {step / self._steps_per_epoch:.2f}): {text}")

    def evaluation(self, step: int, result: Result) -> None:
        """The errors at a step."""
        fields = vars(result)
        where = {name: fields[name] for name in ("split", "views", "examples")}
        self._write("eval", step, where, {k: v for k, v in fields.items() if k not in where})
        hosts.say(
            f"step {step} (epoch {step / self._steps_per_epoch:.2f}): {result.split} loss {result.loss:.4f},"
            f" error {result.top1_error:.2%} (top 5 {result.top5_error:.2%})"
        )

    def magnitudes(self, step: int, means: Any) -> None:
        """Mean |w| and mean |step| of each layer's kernel: cuda-convnet's health check."""
        layers = jax.tree.map(float, jax.device_get(means))
        for name, values in layers.items():
            for what, value in values.items():
                self._tensorboard.add_scalar(f"{what}/{name}", value, step)
        self._append({"kind": "layers", "step": step, "layers": layers})
        columns = [
            " ".join([name, *(f"{value:.1e}" for value in values.values())])
            for name, values in layers.items()
        ]
        hosts.say("  mean |w|, mean |step|: " + ", ".join(columns))

    def close(self) -> None:
        """Everything is on disk."""
        self._bar.close()
        self._tensorboard.close()

    def _write(self, kind: str, step: int, where: dict[str, Any], values: dict[str, float]) -> None:
        place = {"kind": kind, **where, "step": step, "epoch": step / self._steps_per_epoch}
        self._append(place | values)
        for name, value in values.items():
            self._tensorboard.add_scalar(f"{where.get('split', kind)}/{name}", value, step)

    def _append(self, record: dict[str, Any]) -> None:
        if self._writes:
            with self._metrics.open("a") as file:
                file.write(json.dumps(record) + "\n")


_UNDER_WAY = 2  # updates that the device has still to do when the host gives it another


class Meter:
    """Gathers the metrics of updates, and fetches them when the next update is under way.

    So the device never waits for the host, and the images per second are those of the updates
    alone: evaluation is not in them.
    """

    def __init__(
        self, progress: Progress, watch: "Watch", batch_size: int, log_every: int, last_step: int
    ) -> None:
        self._progress, self._watch, self._batch_size = progress, watch, batch_size
        self._log_every, self._last_step = log_every, last_step
        self._pending: list[tuple[int, Any]] = []
        self._fetched: list[dict[str, float]] = []
        self._seconds, self._timed = 0.0, 0
        self._began = time.perf_counter()
        self._since: float | None = None  # the first update's time is the compiler's

    def restart(self) -> None:
        """The time since the last `fetch` was spent on something else, if there was one."""
        if not self._pending:
            self._since = time.perf_counter()

    def add(self, step: int, metrics: Any) -> None:
        """Add the metrics of the update to ``step``, which may still be computed."""
        if self._pending and self._pending[-1][0] % self._log_every == 0:
            self.fetch()
        self._pending.append((step, metrics))
        if self._since is None:
            jax.block_until_ready(metrics)
            self._since, self._timed = time.perf_counter(), -1
        if len(self._pending) > _UNDER_WAY:  # or batches would pile up on the device
            jax.block_until_ready(self._pending[-_UNDER_WAY][1])

    def fetch(self) -> None:
        """Waits for everything that was added; writes a line where an interval is full.

        Raises:
          RunError: a loss that is not finite.
        """
        if not self._pending:
            return  # the time since then went into something else
        values = jax.device_get([metrics for _, metrics in self._pending])
        now = time.perf_counter()
        self._seconds += now - (self._since or now)
        self._since = now
        pending, self._pending = self._pending, []
        for (step, _), metrics in zip(pending, values, strict=True):
            self._fetched.append(metrics)
            self._timed += 1
            if warning := self._watch.see(step, float(metrics["loss"])):
                hosts.say(warning)
            if step % self._log_every == 0 or step == self._last_step:
                means = {
                    name: float(np.mean([m[name] for m in self._fetched])) for name in ("loss", "top1_error")
                }
                updates, seconds = self._timed, self._seconds
                if not updates:  # nothing but the first
                    updates, seconds = 1, now - self._began
                speed = updates * self._batch_size / seconds
                rate = float(metrics["learning_rate"])
                self._progress.train(step, **means, rate=rate, images_per_second=speed)
                self._fetched, self._timed, self._seconds = [], 0, 0.0


def _forget_after(metrics: epath.Path, step: int) -> None:
    """Drops the lines of steps that are done again, and a last line that was cut off."""
    if not metrics.exists():
        return
    kept = []
    for line in metrics.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except ValueError:
            break
    files.write(metrics, "".join(kept).encode())


class Watch:
    """Looks at every loss: is it a number, and does it ever leave what guessing gives?"""

    def __init__(self, classes: int, steps_per_epoch: int) -> None:
        self._classes = classes
        self._recent: deque[float] = deque(maxlen=min(500, max(100, 5 * steps_per_epoch)))
        self._told = False

    def see(self, step: int, loss: float) -> str | None:
        """A warning for the user, or None.

        Raises:
          RunError: the loss of the update to ``step`` is not finite.
        """
        if not math.isfinite(loss):
            raise RunError(
                f"the loss is {loss} at step {step}; checkpoints, if there are, are from before:"
                " go on with a smaller --config.optimizer.learning_rate"
            )
        self._recent.append(loss)
        guessing = math.log(self._classes)
        full = len(self._recent) == self._recent.maxlen
        if self._told or not full or any(abs(x - guessing) > 0.02 * guessing for x in self._recent):
            return None
        self._told = True
        return (
            f"the loss has sat at ln({self._classes}) = {guessing:.3f}, what guessing gives, for"
            f" {len(self._recent)} steps: the net is not learning yet. It may still begin to; if it does not,"
            " start anew with other initial values (of the recipes alexnet and folder the variants"
            " std03 and small_bias), or with another --config.optimizer.learning_rate"
        )
