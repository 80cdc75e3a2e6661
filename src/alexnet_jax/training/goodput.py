"""Goodput: the share of a run's time that is spent in steps, and what the rest is spent on.

``goodput.json`` has the times of all runs in a workdir. It is written before each checkpoint. So a run that
is killed loses only the time since the last one.
"""

import contextlib
import json
import time
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Annotated, Any, Literal, ParamSpec, TypeAlias, TypedDict, TypeVar

import jax
from etils import epath

from alexnet_jax import files, schema
from alexnet_jax.parallel import hosts, watchdog
from alexnet_jax.schema import Checksum, Rule
from alexnet_jax.text import time_in_words

FILE = "goodput.json"

Kind: TypeAlias = Literal["steps", "starting", "preparing", "compiling", "data", "evaluating", "saving"]
WORDS: dict[Kind, str] = {
    "steps": "in steps",
    "starting": "starting",
    "preparing": "preparing the data",
    "compiling": "compiling",
    "data": "waiting for data",
    "evaluating": "evaluating",
    "saving": "saving",
}
"""The words for each kind of time, for the user."""

Seconds: TypeAlias = Annotated[float, Rule("from 0 to 10^10", lambda x: 0 <= x <= 1e10)]
P = ParamSpec("P")
T = TypeVar("T")


class Times(TypedDict):
    """The content of ``goodput.json``."""

    seconds: dict[Kind, Seconds]
    checksum: Checksum


class Goodput:
    """A measurement of what a run spends its time on. If there are several processes, the first one counts.

    The time that belongs to no other kind is ``starting`` before the first batch, ``steps`` during the loop,
    and ``saving`` after it.

    Args:
      clock: function that returns the time in seconds.
      watch: function that takes the result of an update, and returns the future time at which it is done; by
        default a thread waits for it.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.perf_counter,
        watch: Callable[[Any], Future[float]] | None = None,
    ) -> None:
        self._clock, self._thread = clock, ThreadPoolExecutor(1, thread_name_prefix="goodput")
        self._watch = watch or self._in_thread
        self._done: Future[float] | None = None  # the time at which the last update is done
        self._kind: Kind = "starting"
        self._since = clock()
        self._seconds: dict[Kind, float] = dict.fromkeys(WORDS, 0.0)
        self._before: Mapping[Kind, float] = {}
        self._path: epath.Path | None = None  # None on other processes than the first
        self._check: Callable[[], None] = lambda: None

    def open(self, workdir: epath.Path, check: Callable[[], None]) -> None:
        """Read the times of earlier runs. If they are damaged, print a note.

        Args:
          workdir: directory of ``goodput.json``, which is locked.
          check: function to call before the file is replaced. It raises an exception if the run must no
            longer write there.
        """
        if hosts.is_first():
            self._path, self._check = workdir / FILE, check
            try:
                self._before = read(workdir)
            except ValueError as error:
                hosts.say(f"note: {error}")

    @contextlib.contextmanager
    def during(self, kind: Kind) -> Iterator[None]:
        """Count the time in the ``with`` block as one kind."""
        before = self._switch(kind)
        try:
            yield
        finally:
            self._switch(before)

    def compiling(self, function: Callable[P, T]) -> Callable[P, T]:
        """Return a jitted function whose first call counts as compiling, until its result is computed."""
        compiled = False

        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            nonlocal compiled
            if compiled:
                return function(*args, **kwargs)
            compiled = True
            with self.during("compiling"), watchdog.waiting_for(None):
                return jax.block_until_ready(function(*args, **kwargs))

        return call

    def batches(self, batches: Generator[T, None, None]) -> Generator[T, None, None]:
        """Yield the batches of the loop. Count the time that the devices wait for one.

        While they are still computing an update, a wait is hidden and counts as steps.
        """
        with contextlib.closing(batches):
            try:
                began = self._clock()
                for batch in batches:
                    arrived = self._clock()
                    self._switch("data", min(arrived, max(began, self._idle_since())))
                    self._switch("steps", arrived)
                    yield batch
                    began = self._clock()
            finally:
                self._switch("saving")
                self._thread.shutdown(wait=False)

    def dispatched(self, metrics: Any) -> None:
        """Take the metrics of an update, which may still be computed."""
        self._done = self._watch(metrics)

    def save(self) -> None:
        """Write the times of this run and of earlier ones. If that fails, print a note, and stop writing."""
        self._switch(self._kind)
        if self._path is None:
            return
        self._check()
        total = {kind: round(self._before.get(kind, 0.0) + x, 3) for kind, x in self._seconds.items()}
        content = Times(seconds=total, checksum=_checksum(total))
        try:
            files.write(self._path, files.as_json(content))
        except OSError as error:
            self._path = None
            hosts.say(
                f"note: {FILE} can't be written ({error.strerror or error}); the run continues without it"
            )

    def end(self) -> None:
        """Write the times, and print the shares of this run."""
        self.save()
        (_, steps), *others = shares(self._seconds)
        rest = ", ".join(f"{WORDS[kind]} {share:.1%}" for kind, share in others)
        total = time_in_words(sum(self._seconds.values()))
        hosts.say(f"goodput: {steps:.1%} of {total} {WORDS['steps']}; {rest}")

    def _switch(self, kind: Kind, now: float | None = None) -> Kind:
        """Count the time until now, and begin another kind. Return the kind until now."""
        now = self._clock() if now is None else now
        self._seconds[self._kind] += now - self._since
        before, self._kind, self._since = self._kind, kind, now
        return before

    def _idle_since(self) -> float:
        """Return the time since which the devices have nothing to compute, as far as it is known."""
        if self._done is None:
            return -float("inf")
        return self._done.result() if self._done.done() else float("inf")

    def _in_thread(self, metrics: Any) -> Future[float]:
        def wait() -> float:
            jax.block_until_ready(metrics)
            return self._clock()

        return self._thread.submit(wait)


def read(workdir: epath.Path) -> dict[Kind, float]:
    """Return the seconds of each kind of all runs in a workdir; empty if there is no file.

    Raises:
      ValueError: the file is damaged, or can't be read. The message is a line for the user.
    """
    try:
        found = schema.read_json(workdir / FILE, Times)
        if found["checksum"] != _checksum(found["seconds"]):
            raise ValueError(f"{FILE} has a wrong checksum")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ValueError(f"{files.explained(error)}: its times are ignored") from error
    return found["seconds"]


def shares(seconds: Mapping[Kind, float]) -> list[tuple[Kind, float]]:
    """Return each kind, ``steps`` first, and its share of the time, from 0 to 1."""
    total = sum(seconds.values()) or 1.0
    return [(kind, seconds.get(kind, 0.0) / total) for kind in WORDS]


def _checksum(seconds: Mapping[Kind, float]) -> int:
    return zlib.crc32(json.dumps(seconds, sort_keys=True).encode())
