"""The processes of a sweep: ``train`` and ``evaluate``, several at a time."""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import FrameType
from typing import IO, Self

from etils import epath

from alexnet_jax import files
from alexnet_jax.errors import NOTE, PREFIX, RESUME, Interrupted
from alexnet_jax.files import is_remote
from alexnet_jax.runtime import progress, stopping
from alexnet_jax.sweep.directory import STDERR
from alexnet_jax.sweep.slots import Slot


def command_line(verb: str, arguments: Sequence[str]) -> str:
    """Return a command as a user would type it."""
    return f"alexnet-jax {verb} {shlex.join(arguments)}"


class Processes:
    """The processes that run now. A signal that asks this process to stop is passed on to each of them.

    It is a context manager, which handles the signals in its block.
    """

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[str]] = set()
        self._received: int | None = None
        self._handling = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._handling.enter_context(stopping.handled(self._pass_on))
        return self

    def __exit__(self, *_: object) -> None:
        self._handling.close()

    def _pass_on(self, signum: int, frame: FrameType | None) -> None:
        self._received = self._received or signum
        # A scheduler sends SIGTERM to every process. A second one would end the training before it saves.
        for process in tuple(self._running):
            process.send_signal(signal.SIGINT)

    def check(self) -> None:
        """Raise Interrupted if this process was asked to stop."""
        if self._received is not None:
            raise Interrupted(self._received, "finished tasks are kept")

    def stop(self) -> None:
        """Ask all processes to save and to end, unless a signal has done so. Later ones do not start."""
        if self._received is None:
            self._pass_on(signal.SIGINT, None)

    def run(
        self,
        verb: str,
        arguments: Sequence[str],
        directory: epath.Path,
        slot: Slot,
        say: Callable[[str], None] | None,
    ) -> tuple[int, str]:
        """Run a verb in a separate process, and wait for it.

        Its standard error goes to ``stderr.log`` in the directory. If this process is killed, the other one
        can still write there, and save.

        Args:
          verb: the verb.
          arguments: its arguments.
          directory: directory of the task.
          slot: the part of the machine that the process uses.
          say: function that takes a line of its standard output; None if that is this process's own.

        Returns:
          The exit status and the error message.

        Raises:
          Interrupted: this process received a signal to stop, and the other one has stopped.
        """
        self.check()
        with contextlib.ExitStack() as opened:
            log = directory / STDERR
            if is_remote(directory):  # a subprocess can't write there: copy the file afterwards
                log = epath.Path(opened.enter_context(tempfile.TemporaryDirectory())) / STDERR
            with log.open("w") as stderr:
                status = self._wait(verb, arguments, stderr, slot, say)
            message = _error_message(log)
            if is_remote(directory):
                try:
                    files.write(directory / STDERR, log.read_bytes())
                except OSError as error:
                    progress.note(f"{directory / STDERR} is not written: {error}")
        if self._received is not None:
            stopped = f"{verb} stopped with status {status}" + (f" ({message})" if message else "")
            if say is not None and status not in (0, 128 + signal.SIGINT):
                say(stopped)  # only one of the tasks is named by the exception
            raise Interrupted(self._received, f"{stopped}; finished tasks are kept")
        if status < 0:
            message = f"{verb} was killed by {_signal_name(-status)}"
        if status == -signal.SIGKILL:
            message += ": if memory ran out, run fewer tasks at a time, with --at_once=N"
        return status, message or f"{verb} ended with status {status}: see {directory / STDERR}"

    def _wait(
        self,
        verb: str,
        arguments: Sequence[str],
        stderr: IO[str],
        slot: Slot,
        say: Callable[[str], None] | None,
    ) -> int:
        """Start a process and return its exit status."""
        with subprocess.Popen(
            [sys.executable, "-m", "alexnet_jax", verb, *arguments],
            env={**os.environ, **slot},
            stdout=None if say is None else subprocess.PIPE,
            stderr=stderr,
            text=True,
            errors="replace",
            process_group=0,  # so that Ctrl-C reaches it once, through `_pass_on`
        ) as process:
            self._running.add(process)
            try:
                if self._received is not None:  # meanwhile
                    process.send_signal(signal.SIGINT)
                for line in process.stdout or ():
                    assert say is not None
                    say(line.rstrip("\n"))
                return process.wait()
            finally:
                self._running.discard(process)


def in_slots(
    do: Callable[[int, Slot], None],
    needs: Mapping[int, Collection[int]],
    slots: Sequence[Slot],
    processes: Processes,
) -> None:
    """Call a function for each task, in a thread, as soon as a slot is free.

    If a call raises an error, no more tasks start, and the error is raised when the others have ended.

    Args:
      do: function that takes the number of a task and its slot.
      needs: the numbers of the tasks, each with those that must end before it. The order counts.
      slots: the slots.
      processes: the processes that the function starts; they are stopped after an error.
    """
    waiting, free = [*needs], [*slots]
    running: dict[Future[None], tuple[int, Slot]] = {}
    with ThreadPoolExecutor(len(slots)) as threads:
        try:
            while waiting or running:
                unfinished = {*waiting, *(number for number, _ in running.values())}
                ready = [number for number in waiting if unfinished.isdisjoint(needs[number])]
                for number, slot in zip(ready, tuple(free), strict=False):
                    waiting.remove(number)
                    free.remove(slot)
                    running[threads.submit(do, number, slot)] = number, slot
                for call in wait(running, return_when=FIRST_COMPLETED).done:
                    free.append(running.pop(call)[1])
                    call.result()
        except BaseException:
            processes.stop()
            raise


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def _error_message(log: epath.Path) -> str:
    """Return the last error message of a command, without its advice to resume; empty if there is none."""
    lines = log.read_bytes().decode(errors="replace").splitlines()
    found = [line for line in lines if line.startswith(PREFIX) and not line.startswith(NOTE)]
    return found[-1].removeprefix(PREFIX).partition(RESUME)[0] if found else ""
