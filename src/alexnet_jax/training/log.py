"""The log of a run: a bar on a terminal or lines elsewhere, ``metrics.jsonl``, and TensorBoard."""

import json
import sys
from collections.abc import Mapping
from typing import Any

import jax
from etils import epath
from tensorboardX import SummaryWriter
from tqdm import tqdm

from alexnet_jax import files
from alexnet_jax.parallel import hosts
from alexnet_jax.training.metrics import Evaluation, Layers, Train
from alexnet_jax.training.scores import Result


class Log:
    """The log of one run in a workdir. If there are several processes, the first one writes it.

    Args:
      workdir: directory of ``metrics.jsonl`` and of the file for TensorBoard.
      step: number of updates done. Lines of later steps are deleted, because the run repeats these steps.
      total_steps: number of updates in the whole run.
      steps_per_epoch: number of updates in an epoch.
    """

    def __init__(self, workdir: epath.Path, step: int, total_steps: int, steps_per_epoch: int) -> None:
        self._steps_per_epoch = steps_per_epoch
        self._metrics = workdir / "metrics.jsonl"
        self._writes = hosts.is_first()
        if self._writes:
            _delete_after(self._metrics, step)
        self._tensorboard = SummaryWriter(str(workdir), purge_step=step + 1, write_to_disk=self._writes)
        self._bar = tqdm(
            initial=step,
            total=total_steps,
            disable=not (self._writes and sys.stderr.isatty()),
            bar_format="{percentage:3.0f}% |{bar}| {n}/{total} steps, {remaining} left{postfix}",
            dynamic_ncols=True,
        )

    def train(
        self, step: int, loss: float, top1_error: float, learning_rate: float, images_per_second: float
    ) -> None:
        """Log the means over the updates since the last such line, as `metrics.Train` describes them."""
        record = Train(
            step=step,
            epoch=step / self._steps_per_epoch,
            loss=loss,
            top1_error=top1_error,
            learning_rate=learning_rate,
            images_per_second=images_per_second,
        )
        self._append("train", record)
        self._plot("train", record)
        text = (
            f"loss {loss:.4f}, error {top1_error:.2%}, learning rate {learning_rate:.2g},"
            f" {images_per_second:,.0f} images/s"
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
        self._append("eval", record)
        self._plot(result.split, record)
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
        self._append("layers", Layers(step=step, layers=layers))
        for name, values in layers.items():
            for what, value in values.items():
                self._tensorboard.add_scalar(f"{what}/{name}", value, step)
        columns = [f"{name} {of['weights']:.1e} {of['steps']:.1e}" for name, of in layers.items()]
        hosts.say("  mean |w|, mean |step|: " + ", ".join(columns))

    def close(self) -> None:
        """Remove the bar, and finish TensorBoard's file."""
        self._bar.close()
        self._tensorboard.close()

    def _append(self, kind: str, record: Mapping[str, Any]) -> None:
        if self._writes:
            with self._metrics.open("a") as file:
                file.write(json.dumps({"kind": kind, **record}) + "\n")

    def _plot(self, group: str, record: Mapping[str, Any]) -> None:
        """Add the measured values, which are the floating-point ones, to TensorBoard."""
        for name, value in record.items():
            if isinstance(value, float) and name != "epoch":
                self._tensorboard.add_scalar(f"{group}/{name}", value, record["step"])


def _delete_after(metrics: epath.Path, step: int) -> None:
    """Delete the lines of later steps, and a truncated last line."""
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
