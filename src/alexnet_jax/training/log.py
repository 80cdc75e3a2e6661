"""The log of a run: a bar on a terminal or lines elsewhere, ``metrics.jsonl``, TensorBoard and W&B."""

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from etils import epath
from tqdm import tqdm

from alexnet_jax import files
from alexnet_jax.errors import UserError
from alexnet_jax.parallel import hosts, watchdog
from alexnet_jax.text import with_prefix
from alexnet_jax.training import metrics
from alexnet_jax.training.appended import Appended
from alexnet_jax.training.events import Events
from alexnet_jax.training.flops import Flops
from alexnet_jax.training.metrics import Evaluation, Layers, Train
from alexnet_jax.training.scores import Result
from alexnet_jax.training.weights_and_biases import WeightsAndBiases


class Log:
    """The log of one run in a workdir. If there are several processes, the first one writes it.

    Args:
      workdir: directory of ``metrics.jsonl`` and of the file for TensorBoard.
      step: number of updates done. Lines of later steps are deleted, because the run repeats these steps.
      total_steps: number of updates in the whole run.
      steps_per_epoch: number of updates in an epoch.
      flops: FLOPs of the run, for the rate that it achieves.
      board: log on Weights & Biases, which receives the same values as TensorBoard.
      check: see `Appended`.

    Attributes:
      failure: why ``metrics.jsonl`` can't be written any more; None if it can. The run should save and end.

    Raises:
      UserError: ``metrics.jsonl`` can't be written, or is a symbolic link.
    """

    def __init__(
        self,
        workdir: epath.Path,
        step: int,
        total_steps: int,
        steps_per_epoch: int,
        flops: Flops,
        board: WeightsAndBiases,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._steps_per_epoch, self._flops, self._board = steps_per_epoch, flops, board
        self._metrics = workdir / metrics.FILE
        self._writes = hosts.is_first()
        self.failure: str | None = None
        if self._writes:
            self._file = Appended(self._metrics, check)
            self._attempt(lambda: self._file.append(b""))
            if self.failure is not None:
                raise UserError(self.failure)
            _delete_after(self._metrics, step)
            self._events = Events(workdir, step, check)
            board.begin()
        self._bar = tqdm(
            initial=step,
            total=total_steps,
            disable=not (self._writes and sys.stderr.isatty()),
            bar_format="{percentage:3.0f}% |{bar}| {n}/{total} steps, {remaining} left{postfix}",
            dynamic_ncols=True,
        )

    @watchdog.waiting_for(None)  # Ctrl-S stops a terminal, and the bar
    def train(
        self, step: int, loss: float, top1_error: float, learning_rate: float, images_per_second: float
    ) -> None:
        """Log the means over the updates since the last such line, as `metrics.Train` describes them."""
        flops_per_second, mfu = self._flops.achieved(images_per_second)
        record = Train(
            step=step,
            epoch=step / self._steps_per_epoch,
            loss=loss,
            top1_error=top1_error,
            learning_rate=learning_rate,
            images_per_second=images_per_second,
            flops_per_second=flops_per_second,
            mfu=mfu,
        )
        self._write("train", record, _measured("train", record))
        text = (
            f"loss {loss:.4f}, error {top1_error:.2%}, learning rate {learning_rate:.2g},"
            f" {images_per_second:,.0f} images/s, {with_prefix(flops_per_second)}FLOP/s"
            + ("" if mfu is None else f" (MFU {mfu:.1%})")
        )
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(step - self._bar.n)
        if self._bar.disable:
            hosts.say(f"step {step} (epoch {record['epoch']:.2f}): {text}")

    def evaluation(self, step: int, result: Result) -> None:
        """Log the result of an evaluation at a step."""
        record = Evaluation(
            step=step,
            epoch=step / self._steps_per_epoch,
            split=result.split,
            views=result.views,
            examples=result.examples,
            loss=result.loss,
            top1_error=result.top1_error,
            top5_error=result.top5_error,
        )
        self._write("eval", record, _measured(result.split, record))
        hosts.say(
            f"step {step} (epoch {record['epoch']:.2f}): {result.split} loss {result.loss:.4f},"
            f" error {result.top1_error:.2%} (top 5 {result.top5_error:.2%})"
        )

    def magnitudes(self, step: int, means: Any) -> None:
        """Log mean |w| and mean |step| of the kernel of each layer, which cuda-convnet prints as well.

        Args:
          step: number of updates done.
          means: result of `step.mean_magnitudes`.
        """
        layers = jax.tree.map(float, jax.device_get(means))
        values = {f"{what}/{name}": value for name, of in layers.items() for what, value in of.items()}
        self._write("layers", Layers(step=step, layers=layers), values)
        columns = [f"{name} {of['weights']:.1e} {of['steps']:.1e}" for name, of in layers.items()]
        hosts.say("  mean |w|, mean |step|: " + ", ".join(columns))

    def pictures(self, step: int, drawn: Mapping[str, np.ndarray]) -> None:
        """Add the pictures of `pictures.pictures` to TensorBoard and Weights & Biases."""
        if self._writes and drawn:
            self._events.add_pictures(step, drawn)
            self._board.add_pictures(step, drawn)

    def sync(self) -> None:
        """Wait until all lines are on the disk, so that the log reaches as far as a checkpoint saved next."""
        if self._writes:
            self._attempt(self._file.sync)

    def close(self) -> None:
        """Remove the bar. In a bucket, write the lines that are not there yet."""
        self._bar.close()
        if self._writes:
            self._attempt(self._file.close)
            self._events.close()

    def _write(self, kind: str, record: Mapping[str, Any], values: Mapping[str, float]) -> None:
        """Write a line, and values for TensorBoard and Weights & Biases."""
        self._attempt(lambda: self._file.append(json.dumps({"kind": kind, **record}).encode() + b"\n"))
        if self._writes:
            self._events.add(record["step"], values)
            self._board.add(record["step"], values)

    def _attempt(self, write: Callable[[], None]) -> None:
        """Write to ``metrics.jsonl``. If that fails, set `failure`, and write nothing more."""
        if not self._writes or self.failure is not None:
            return
        try:
            write()
        except OSError as error:
            self.failure = f"{self._metrics} can't be written ({error.strerror or error})"


def _measured(group: str, record: Mapping[str, Any]) -> dict[str, float]:
    """Return the measured values, which are the floating-point ones, by their names in TensorBoard."""
    return {f"{group}/{k}": v for k, v in record.items() if isinstance(v, float) and k != "epoch"}


def _delete_after(path: epath.Path, step: int) -> None:
    """Delete the lines of later steps, and a last line that was cut off. Report other damaged lines."""
    lines = list(metrics.lines(path))
    kept = [line for line, record in lines if record is None or record["step"] <= step]
    damaged = [number for number, (_, record) in enumerate(lines, 1) if record is None]
    if kept and not kept[-1].endswith(b"\n"):
        if lines[-1][1] is None:
            kept.pop()
            damaged.pop()
        else:
            kept[-1] += b"\n"
    if kept != [line for line, _ in lines]:
        files.write(path, b"".join(kept))
    if damaged:
        hosts.say(f"note: {metrics.damage(damaged)}")
