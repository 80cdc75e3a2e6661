"""The results of a sweep for the HPARAMS page of TensorBoard. Nothing here imports JAX.

Each network's directory gets a file of events with the settings in which the sweep's networks differ, and
with the result of the test.
"""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from alexnet_jax import files
from alexnet_jax.config import saved
from alexnet_jax.config.settings import NEUTRAL
from alexnet_jax.sweep.directory import valid_evaluation
from alexnet_jax.sweep.tasks import Task

# TensorBoard reads files in the order of their names. Those of the curves have a number in place of the word.
FILE = "events.out.tfevents.hparams"


def write(task: Task, tasks: Sequence[Task], say: Callable[[str], None]) -> None:
    """Write the file of a network that was tested. An ensemble has none.

    Args:
      task: task of the network.
      tasks: all tasks of the sweep.
      say: function that prints a line for the user, if the file can't be written.
    """
    result = valid_evaluation(task.directory)
    if task.config is None or result is None:
        return
    from tensorboardX import summary  # takes half a second
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.summary_pb2 import Summary

    from alexnet_jax.training.tfrecord import tfrecord

    values = differing([each.config for each in tasks if each.config is not None])
    known = _settings(task.config)
    own = {"network": task.directory.name} | {key: _simple(known[key]) for key in values if key in known}
    errors = {f"result/{key}": result[key] for key in ("loss", "top1_error", "top5_error")}
    _, start, end = summary.hparams(own, errors)
    points = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in errors.items()])
    step = result["checkpoints"][-1]["step"]
    events = [Event(file_version="brain.Event:2")]
    events += [Event(step=step, summary=each) for each in (start, points, end)]
    for event in events:
        event.wall_time = time.time()
    try:
        files.write(task.directory / FILE, b"".join(tfrecord(each.SerializeToString()) for each in events))
    except OSError as error:
        say(f"note: {task.directory / FILE} can't be written ({error.strerror or error})")


def differing(configs: Sequence[ConfigDict]) -> list[str]:
    """Return the keys of the settings in which configs differ, without those that no result depends on."""
    found = [_settings(config) for config in configs]
    keys = sorted({key for settings in found for key in settings})
    return [key for key in keys if len({json.dumps(settings.get(key)) for settings in found}) > 1]


def _settings(config: ConfigDict) -> dict[str, Any]:
    """Return the settings that may matter. The list of the layers' names repeats the keys of their fields."""
    return {k: v for k, v in saved.settings(config).items() if k not in {*NEUTRAL, "net.layers"}}


def _simple(value: Any) -> str | bool | float:
    if isinstance(value, bool | int | float):
        return value
    return Path(value).name if isinstance(value, str) else str(value)
