"""A watchdog that ends a run in which something has stopped: a step, the loader, or a writer.

The thread that trains or evaluates reports what it waits for, and what writes in the background. Another
thread counts how long. It counts its own ticks, so the time for which the process was suspended does not
count.
"""

import contextlib
import dataclasses
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any, Literal, NoReturn, TypeAlias, TypeVar

from alexnet_jax.errors import Stopped
from alexnet_jax.parallel import peers

What: TypeAlias = Literal["batch", "evaluation batch", "step", "log", "log sync", "checkpoint"]
"""What the thread that trains waits for: the loader, the devices, or the disk of the workdir."""

T = TypeVar("T")

_CACHE = "check the disk of the cache"
_WORKDIR = "check the disk or the bucket of the workdir"
_BETWEEN_STEPS = ("batch", "log sync")  # in these waits the arrays are those after a whole step
_STOPPED: dict[What, str] = {
    "batch": "the loader has delivered no batch",
    "evaluation batch": "the loader has delivered no batch for an evaluation",
    "step": "a step has not ended",
    "log": "the log has not been written",
    "log sync": "the log has not been written",
    "checkpoint": "a checkpoint has not been written",
}
_ADVICE: dict[What, str] = {
    "batch": _CACHE,
    "evaluation batch": _CACHE,
    "step": "check the devices, or raise --config.step_timeout_minutes if a step may take as long",
    "log": _WORKDIR,
    "log sync": _WORKDIR,
    "checkpoint": _WORKDIR,
}
_TICK = 1.0  # seconds between two ticks
_FAREWELL = 60.0  # seconds in which the process must have printed its last line


@dataclasses.dataclass(frozen=True)
class Wait:
    """A wait for something.

    Attributes:
      what: what is waited for; None for anything that may take long.
      counted: seconds that the watchdog had counted when the wait began.
      began: time of the day at which it began, as from `time.time`.
    """

    what: What | None
    counted: float
    began: float


class Watchdog:
    """A count of how long the thread that creates this object waits. `watching` starts the counting thread.

    Args:
      limit: seconds after which a wait is too long.
      check: see `watching`.

    Attributes:
      save: see `save_with`; None before it is called.
      sync: see `save_with`.
    """

    def __init__(self, limit: float, check: Callable[[], None] | None = lambda: None) -> None:
        self.save: Callable[[], int] | None = None
        self.sync: Callable[[], None] = lambda: None
        self._check = check
        self._limit, self._tick = limit, min(_TICK, limit / 10)
        self._trains = threading.current_thread()
        self._lock = threading.Lock()
        self._counted = 0.0
        self._wait = self._begin(None)
        self._background: dict[Future[Any], Wait] = {}
        self._found: Wait | None = None
        self._between_steps = threading.Event()
        self._ended = threading.Event()

    def waits_for(self, what: What | None) -> What | None:
        """Begin to wait for something. Return what was waited for before. Other threads are ignored.

        If the run is about to end, this does not return between two steps, so that the run can be saved.
        """
        if threading.current_thread() is not self._trains:
            return None
        with self._lock:
            before, self._wait = self._wait.what, self._begin(what)
            parks = self._found is not None and (what in _BETWEEN_STEPS or before in _BETWEEN_STEPS)
        if parks:
            self._between_steps.set()
            threading.Event().wait()
        return before

    def writes(self, what: What, writing: Future[Any]) -> None:
        """Watch a writer in the background until it has written."""
        with self._lock:
            self._background[writing] = self._begin(what)

    def count(self, seconds: float) -> Wait | None:
        """Count seconds. Return a wait that is too long; None if there is none."""
        with self._lock:
            self._counted += seconds
            self._background = {w: wait for w, wait in self._background.items() if not w.done()}
            for wait in (self._wait, *self._background.values()):
                # If another process has stopped, the step of this one has, too. The other one ends first.
                limit = self._limit * (1.1 if wait.what == "step" and peers.several() else 1)
                if wait.what is not None and self._counted - wait.counted > limit:
                    self._found = wait
                    if self._wait.what in _BETWEEN_STEPS:
                        self._between_steps.set()
                    return wait
        return None

    def end(self, found: Wait) -> NoReturn:
        """Save the run if that is possible, and end this process and all others of the run."""
        assert found.what is not None
        step = None
        # Several processes must save together. During a step, the arrays of the step before do not exist.
        saves = found.what in _BETWEEN_STEPS or (found.what == "log" and found is not self._wait)
        if saves and not peers.several() and self._between_steps.wait(self._limit):
            step = _within(self._limit, self._save)
            if found.what == "batch":
                _within(_FAREWELL, self.sync)
        stopped, advice = _STOPPED[found.what], _ADVICE[found.what]
        kept, resume = "", ""
        if self._check is not None:
            kept = "; earlier checkpoints are kept" if step is None else f"; the run is saved at step {step}"
            resume = " to resume"
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found.began))
        error = Stopped(
            f"{stopped} for {self._limit / 60:.3g} minutes, since {since}{kept}: {advice}, and run the same"
            f" command again{resume}"
        )
        _within(_FAREWELL, partial(peers.abort, error.status, str(error)))
        os._exit(error.status)  # standard error is blocked

    def run(self) -> None:
        """Count until `stop` is called."""
        last = time.monotonic()
        while not self._ended.wait(self._tick):
            now = time.monotonic()
            # If a tick took longer, the process was suspended.
            if found := self.count(min(now - last, 2 * self._tick)):
                self.end(found)
            last = now

    def stop(self) -> None:
        """End `run`."""
        self._ended.set()

    def _save(self) -> int | None:
        if self._check is not None:
            self._check()
        return self.save() if self.save else None

    def _begin(self, what: What | None) -> Wait:
        return Wait(what, self._counted, time.time())


@contextlib.contextmanager
def watching(minutes: float, check: Callable[[], None] | None = None) -> Iterator[None]:
    """End the process with `Stopped.status` if the calling thread waits too long in the ``with`` block.

    Args:
      minutes: limit of each wait; 0 for none.
      check: function that raises an exception if the run must not be saved any more; None if there is no run
        to save.
    """
    global _watchdog
    if not minutes:
        yield
        return
    before, _watchdog = _watchdog, (watchdog := Watchdog(60 * minutes, check))
    thread = threading.Thread(target=watchdog.run, name="watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        _watchdog = before
        watchdog.stop()
        thread.join()


def save_with(save: Callable[[], int], sync: Callable[[], None]) -> None:
    """Set how the run is saved if something stops. Another thread does it while the one that trains waits.

    Args:
      save: function that saves the run after its last complete step, and returns the step.
      sync: function that writes the log.
    """
    if _watchdog is not None:
        _watchdog.save, _watchdog.sync = save, sync


def waits_for(what: What | None) -> What | None:
    """Call `Watchdog.waits_for` if there is a watchdog."""
    return None if _watchdog is None else _watchdog.waits_for(what)


def writes(what: What, writing: Future[Any]) -> None:
    """Call `Watchdog.writes` if there is a watchdog."""
    if _watchdog is not None:
        _watchdog.writes(what, writing)


@contextlib.contextmanager
def waiting_for(what: What | None) -> Iterator[None]:
    """Wait for something in the ``with`` block."""
    before = waits_for(what)
    try:
        yield
    finally:
        waits_for(before)


def _within(seconds: float, function: Callable[[], T]) -> T | None:
    """Return the result of a function. Return None if it fails, or takes longer."""
    result: Future[T] = Future()

    def call() -> None:
        try:
            result.set_result(function())
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    try:
        return result.result(seconds)
    except Exception:
        return None


_watchdog: Watchdog | None = None
