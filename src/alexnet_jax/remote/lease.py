"""A lock in a bucket: a small object that its holder renews. Others may take it when it is no longer renewed.

Every write names the generation of the object that it replaces: if two processes write, one of them fails.
The holder is alive if the generation changes. So the clocks of the machines do not matter.
"""

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator

from etils import epath

from alexnet_jax.errors import RunError

PERIOD = 10.0
"""Seconds between two renewals. A lock that is not renewed for three periods is free."""

RETRY = 1.0
"""Seconds between two attempts to take a lock."""

_ABSENT = b"\x02"  # TensorStore's generation of an object that does not exist
_FAILED = b""  # the generation that it returns if a condition does not hold


class Lease:
    """A lock in a bucket. Call `take` until it is held, then `check` before each write.

    Args:
      path: path of the lock's object.
    """

    def __init__(self, path: epath.Path) -> None:
        import tensorstore  # a tenth of a second

        bucket, _, self._key = os.fspath(path).removeprefix("gs://").partition("/")
        retries = {"max_retries": 4, "initial_delay": "500ms", "max_delay": "5s"}
        context = {"gcs_request_retries": retries}
        self._store = tensorstore.KvStore.open(
            {"driver": "gcs", "bucket": bucket, "context": context}
        ).result()
        self.path, self._mine = path, _ABSENT
        self._lost: str | None = None
        self._renewed = 0.0  # when, on this machine's monotonic clock
        self._one_at_a_time = threading.Lock()
        self._ended = threading.Event()
        self._renewing = threading.Thread(target=self._renew, daemon=True)
        self._token = secrets.token_hex(8)
        self._count = 0
        self._seen: tuple[bytes, float] | None = None  # a generation, and when it was first seen
        self._attempts, self._complained = 0, False

    def take(self, busy: Callable[[str], None], say: Callable[[str], None]) -> bool:
        """Take the lock if it is free, and return whether it is held now. If not, try again after `RETRY`.

        Args:
          busy: function that takes the name of the holder. It is called once, if another process holds the
            lock and has renewed it, so that it is alive.
          say: function that takes a line for the user.

        Raises:
          RunError: the bucket does not answer.
        """
        with self._answers():
            found = self._store.read(self._key).result()
            if found.state == "missing":
                return self._take(_ABSENT)
            now, generation = time.monotonic(), found.stamp.generation
            if self._seen is not None and self._seen[0] == generation and now - self._seen[1] > 3 * PERIOD:
                return self._take(generation)
        self._attempts += 1
        if self._seen is None or self._seen[0] != generation:
            is_alive, self._seen = self._seen is not None, (generation, now)
            if is_alive and not self._complained:
                self._complained = True
                busy(_who(found.value))
        if self._attempts == 3:
            say(
                f"{_who(found.value)} has locked {self.path.parent}: waiting up to {3 * PERIOD:.0f} seconds"
                " to see whether it is alive"
            )
        return False

    def check(self) -> None:
        """Check that the lock is still held.

        Raises:
          RunError: another process has taken it, because this one could not renew it.
        """
        if (
            time.monotonic() - self._renewed > 2 * PERIOD
        ):  # this process was suspended, or the bucket did not answer
            with contextlib.suppress(ValueError):
                self._renew_once()
        if self._lost is not None:
            raise RunError(self._lost)

    def release(self) -> None:
        """Delete the lock, unless another process has taken it."""
        self._ended.set()
        self._renewing.join()
        # If the bucket does not answer, the next run waits until the lock has not been renewed for a while.
        with contextlib.suppress(ValueError):
            self._store.write(self._key, None, if_equal=self._mine).result()

    def _take(self, generation: bytes) -> bool:
        taken = self._write(generation)
        if taken:
            self._renewing.start()
        return taken

    def _write(self, generation: bytes) -> bool:
        """Replace a generation of the object by a new one. Return False if it has another generation."""
        self._count += 1
        me = {"host": socket.gethostname(), "pid": os.getpid(), "token": self._token}
        content = json.dumps(me | {"renewals": self._count}).encode()
        written = self._store.write(self._key, content, if_equal=generation).result().generation
        if written == _FAILED:
            found = self._store.read(self._key).result()
            if self._token.encode() not in found.value:
                return False
            written = found.stamp.generation  # of an earlier attempt, whose answer was lost
        self._mine, self._renewed = written, time.monotonic()
        return True

    def _renew(self) -> None:
        while self._lost is None and not self._ended.wait(PERIOD):
            # If the bucket does not answer, try again later. Another process may take the lock before.
            with contextlib.suppress(ValueError):
                self._renew_once()

    def _renew_once(self) -> None:
        with self._one_at_a_time:
            if self._lost is not None or self._write(self._mine):
                return
            other = _who(self._store.read(self._key).result().value)
            self._lost = (
                f"{other} has taken over {self.path.parent}, because this run could not renew its lock for"
                f" {3 * PERIOD:.0f} seconds: this one ends and writes nothing more"
            )

    @contextlib.contextmanager
    def _answers(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:  # of TensorStore
            why = " ".join(str(error).split())[:200]
            raise RunError(f"the lock {self.path} can't be taken ({why}): try again later") from error


@contextlib.contextmanager
def held(path: epath.Path, busy: Callable[[str], None], say: Callable[[str], None]) -> Iterator[Lease]:
    """Hold the lock of a path until the end of the ``with`` block.

    Args:
      path: path of the lock's object.
      busy: function that is called with the name of the holder if another process holds the lock and is
        alive. If it returns, wait for that process.
      say: function that takes a line for the user.
    """
    lease = Lease(path)
    while not lease.take(busy, say):
        time.sleep(RETRY)
    try:
        yield lease
    finally:
        lease.release()


def _who(content: bytes) -> str:
    """Return the holder of a lock. The content may be anything, because anybody may have written it."""
    try:
        record = json.loads(content)
        return f"process {int(record['pid'])} on {record['host']!s:.100}"
    except (ValueError, TypeError, KeyError):
        return "another process"
