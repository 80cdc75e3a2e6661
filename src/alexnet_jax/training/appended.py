"""Files to which a run appends: ``metrics.jsonl`` and the events for TensorBoard.

Nothing can be appended to an object in a bucket. So the run keeps such a file in memory. A thread writes it
as a whole every half minute, and the run waits for the thread before each checkpoint. If a write is delayed
until another run owns the workdir, it fails, because it names the version of the object that it replaces.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from etils import epath

from alexnet_jax import files
from alexnet_jax.parallel import watchdog

PERIOD = 30.0
"""Seconds between two writes of a file in a bucket; more if a write takes longer than a tenth of this."""


class Appended:
    """A file that grows. Any method may raise an OSError if it can't be written.

    Args:
      path: path of the file. It is created at the first `append` if it does not exist.
      check: function to call before an object in a bucket is replaced, in any thread. It raises an exception
        if the run must no longer write there.
    """

    def __init__(self, path: epath.Path, check: Callable[[], None] = lambda: None) -> None:
        self._path, self._check = path, check
        self._in_bucket = files.is_remote(path)
        if self._in_bucket:
            self._content: bytearray | None = None  # None until something is appended
            self._writer = ThreadPoolExecutor(1)
            self._writing: Future[None] | None = None
            self._written, self._next, self._took = -1, 0.0, 0.0

    @watchdog.waiting_for("log")
    def append(self, content: bytes) -> None:
        """Append bytes. If there are none, only create the file if it is on a disk.

        The error that this raises may come from an earlier write in the background.
        """
        if not self._in_bucket:
            with files.open_append(self._path) as file:
                file.write(content)
            return
        if not content:
            return
        if self._content is None:
            from alexnet_jax.remote.bucket import ABSENT, generation  # imports gcsfs, half a second

            self._version = generation(self._path)
            self._content = bytearray(b"" if self._version == ABSENT else self._path.read_bytes())
        self._content += content
        if self._writing is not None and self._writing.done():
            writing, self._writing = self._writing, None
            writing.result()
        if self._writing is None and time.monotonic() >= self._next:
            self._start()

    @watchdog.waiting_for("log sync")
    def sync(self) -> None:
        """Wait until everything is on the disk or in the bucket."""
        if not self._in_bucket:
            with files.open_append(self._path) as file:
                os.fsync(file.fileno())
            return
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()
        if self._content is not None and self._written != len(self._content):
            self._start()
            self.sync()

    def close(self) -> None:
        """Do the same as `sync`, and end the thread."""
        if self._in_bucket:
            try:
                self.sync()
            finally:
                self._writer.shutdown()

    def _start(self) -> None:
        assert self._content is not None
        self._check()
        self._next = time.monotonic() + max(PERIOD, 10 * self._took)
        self._writing = self._writer.submit(self._write, bytes(self._content))
        watchdog.writes("log", self._writing)

    def _write(self, content: bytes) -> None:
        from alexnet_jax.remote.bucket import generation, replace

        began = time.monotonic()
        while (version := replace(self._path, content, self._version)) is None:
            # Another process has written it, or this one has, and the answer was lost.
            self._check()
            self._version = generation(self._path)
        self._version = version
        self._written, self._took = len(content), time.monotonic() - began
