"""Progress while a user waits: a line for each step, and a bar on a terminal.

Nothing here imports JAX, so that a command can print its first line before it waits for JAX.
"""

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, TextIO

from tqdm import tqdm

from alexnet_jax.errors import PREFIX, RunError
from alexnet_jax.runtime import launchers
from alexnet_jax.text import size_in_words, visible, visible_lines

_failures: dict[TextIO, OSError] = {}  # why a stream can't be written, unless its reader has ended
_LINES_EVERY = 30.0  # seconds, if there is no terminal for a bar


def say(line: str) -> None:
    """Print a line on standard output, above a bar if there is one.

    If the reader has ended, as ``tee`` does after Ctrl-C, or the disk is full, discard this line and all
    later ones, so that the run can still save.
    """
    _print(line, sys.stdout)


def hide_output_of_libraries() -> None:
    """Hide what C++ libraries print on standard output, such as Gloo's log. Python still prints."""
    before = sys.__stdout__
    if before is None or sys.stdout is not before:  # as in a notebook
        return
    before.flush()
    kept = os.dup(before.fileno())
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123, a constant
        os.dup2(nowhere.fileno(), before.fileno())
    buffering = 1 if before.line_buffering else -1
    sys.stdout = os.fdopen(kept, "w", buffering, before.encoding, before.errors)


def note(line: str) -> None:
    """Print a line on standard error, for commands whose standard output is their result.

    If it can't be written, it is discarded, so that the command ends with its own exit status.
    """
    _print(line, sys.stderr)


def _print(line: str, stream: TextIO) -> None:
    try:
        tqdm.write(visible(line), file=stream)
        stream.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            _failures[stream] = error
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def show(text: str) -> None:
    """Print the result of a command on standard output, one or several lines.

    Raises:
      BrokenPipeError: the reader has ended.
      RunError: it can't be written, or an earlier line was lost because the disk is full.
    """
    try:
        if sys.stdout in _failures:
            raise _failures[sys.stdout]
        print(visible_lines(text), flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise RunError(f"standard output can't be written: {error.strerror or error}") from error


def starting(say: Callable[[str], None]) -> None:
    """Report that JAX is about to be imported, unless it already is, or this is not the first process."""
    if "jax" not in sys.modules and launchers.is_first():
        say("starting JAX")


def reading(workdir: str | os.PathLike[str], step: str | int) -> str:
    """Return the line for reading a checkpoint: ``last``, ``best`` or a number of updates."""
    which = f"the {step} checkpoint" if step in ("last", "best") else f"checkpoint {step}"
    return f"reading {which} of {os.fspath(workdir)}"


def evaluating(images: int, split: str, views: int) -> str:
    """Return the line for a pass over a split."""
    return f"evaluating {images:,} images of {split}, {views} view{'s' * (views > 1)} of each"


def complain(line: str) -> None:
    """Print a problem on standard error, with the prefix that the commands use."""
    note(f"{PREFIX}{line}")


class Tasks:
    """A progress line after each of several tasks that print themselves. Without a terminal it is silent.

    Any thread may call it.

    Args:
      total: number of tasks.
    """

    def __init__(self, total: int) -> None:
        self._total, self._before, self._done, self._began = total, 0, 0, time.monotonic()
        self._lock = threading.Lock()

    def skip(self) -> None:
        """Count a task that was done before. It does not affect the estimate of the remaining time."""
        with self._lock:
            self._before += 1

    def done(self) -> None:
        """Count a task that has ended, and print the bar."""
        with self._lock:
            self._done += 1
            if sys.stderr.isatty():
                before, seconds = self._before, time.monotonic() - self._began
                size = self._total, seconds, shutil.get_terminal_size().columns - 1
                note(tqdm.format_meter(before + self._done, *size, unit="task", initial=before))


def bar(
    iterable: Iterable[Any] | None = None, *, total: int, unit: str, description: str = "", show: bool = True
) -> tqdm:
    """Return a progress bar on standard error that disappears at its end. Without a terminal it is silent.

    Args:
      iterable: items to count; None for a bar that is updated by hand.
      total: number of items.
      unit: word for an item, in the singular.
      description: text in front of the bar.
      show: whether this process shows it at all.
    """
    return tqdm(
        iterable,
        description,
        total,
        leave=False,
        unit=unit,
        disable=not (show and sys.stderr.isatty()),
        dynamic_ncols=True,
    )


class Long:
    """The progress of work that may take hours: a bar on a terminal, elsewhere a line every 30 s.

    Several threads may call `add`.

    Args:
      done: number of items that were done before.
      total: number of items.
      unit: word for an item, in the singular; B for bytes.
      say: function that takes a line for the user.
    """

    def __init__(self, done: int, total: int, unit: str, say: Callable[[str], None]) -> None:
        self._done, self._done_before, self._total, self._unit, self._say = done, done, total, unit, say
        self._began = self._said = time.perf_counter()
        self._lock = threading.Lock()
        self._bar = tqdm(
            initial=done,
            total=total,
            unit=unit,
            unit_scale=unit == "B",
            disable=not sys.stderr.isatty(),
            dynamic_ncols=True,
        )

    def __enter__(self) -> "Long":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def add(self, count: int) -> None:
        """Count items that are done. A negative number means that they must be done again."""
        with self._lock:
            self._done += count
            self._bar.update(count)
            now = time.perf_counter()
            if self._bar.disable and now - self._said > _LINES_EVERY and self._done > self._done_before:
                self._said = now
                rate = (self._done - self._done_before) / (now - self._began)
                left = (self._total - self._done) / rate / 60
                done, total, speed = map(self._words, (self._done, self._total, rate))
                self._say(f"  {done} of {total}, {speed}/s, {left:.0f} minutes left")

    def _words(self, count: float) -> str:
        return size_in_words(count) if self._unit == "B" else f"{count:,.0f} {self._unit}s"
