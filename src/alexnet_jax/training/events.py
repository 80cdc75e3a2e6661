"""A file of events for TensorBoard.

tensorboardX's own writer has a queue and a thread. If the disk is full, the thread ends silently, and the
run hangs as soon as the queue is full. So each event is written here at once.
"""

import os
import socket
import time
from collections.abc import Callable, Mapping

import numpy as np
from etils import epath
from tensorboardX import summary
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from alexnet_jax.parallel import hosts
from alexnet_jax.training.appended import Appended
from alexnet_jax.training.tfrecord import tfrecord


class Events:
    """A new file of events in a workdir. If it can't be written, one note says so, and the run continues.

    Args:
      workdir: directory of the file.
      step: number of updates done. TensorBoard hides the events of later steps in older files.
      check: see `Appended`.
    """

    def __init__(self, workdir: epath.Path, step: int, check: Callable[[], None] = lambda: None) -> None:
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}"
        self._file, self._fails = Appended(workdir / name, check), False
        self._write(Event(file_version="brain.Event:2"))
        self._write(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Add a value to each of several curves, by their names."""
        points = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(Event(step=step, summary=Summary(value=points)))

    def add_pictures(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """Add pictures by their names, uint8 of shape (height, width, 3)."""
        found = [summary.image(name, pixels, dataformats="HWC") for name, pixels in pictures.items()]
        self._write(Event(step=step, summary=Summary(value=[each.value[0] for each in found])))

    def close(self) -> None:
        """In a bucket, write the events that are not there yet."""
        self._attempt(self._file.close)

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._attempt(lambda: self._file.append(tfrecord(event.SerializeToString())))

    def _attempt(self, write: Callable[[], None]) -> None:
        if self._fails:
            return
        try:
            write()
        except OSError as error:
            self._fails = True
            hosts.say(
                f"note: the events for TensorBoard can't be written ({error.strerror or error}); the run"
                " continues without them, and metrics.jsonl has the same values"
            )
