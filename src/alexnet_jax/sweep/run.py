"""Run the tasks of a sweep.

Each training and each test is a separate process, so that a failure does not stop the others.
"""

import contextlib
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from etils import epath

from alexnet_jax import files
from alexnet_jax.errors import NOTE, PREFIX, RESUME, Interrupted, UserError
from alexnet_jax.files import is_remote, locked
from alexnet_jax.remote import lease
from alexnet_jax.runtime import progress, stopping
from alexnet_jax.runtime.progress import Tasks
from alexnet_jax.sweep import directory as sweep_directory
from alexnet_jax.sweep import hparams
from alexnet_jax.sweep import table as sweep_table
from alexnet_jax.sweep.directory import EVALUATION, STDERR, evaluation, note_failure, refuse_another
from alexnet_jax.sweep.spec import Sweep
from alexnet_jax.sweep.table import Table
from alexnet_jax.sweep.tasks import Task, difference, is_done, obstacle


def begin(path: str, sweep: Sweep, workdir: epath.Path, overrides: Sequence[str]) -> None:
    """Create the directory of a sweep, or check that it holds this sweep.

    Raises:
      UserError: the directory holds another sweep or a training, or can't be written.
    """
    with files.creating("the workdir", workdir):
        refuse_another(path, overrides, workdir)  # before anything is written to the directory
        files.check_inside(workdir)
        workdir.mkdir(parents=True, exist_ok=True)
        with _alone(workdir, progress.say):
            files.delete_unfinished(workdir)
            refuse_another(path, overrides, workdir)  # another sweep may have created it meanwhile
            sweep_directory.write(workdir, path, sweep, overrides)


def run(
    tasks: Sequence[Task], index: int | None, sweep: Sweep, workdir: epath.Path, say: Callable[[str], None]
) -> Table:
    """Run the tasks that are not done. If a task fails, record the reason and run the others.

    Args:
      tasks: all tasks of the sweep, from `tasks.tasks`.
      index: index of the only task to run; None for all, in order.
      sweep: sweep of the tasks.
      workdir: directory of the sweep.
      say: function that prints a line for the user.

    Returns:
      The table of all results so far. It is also written to the directory.

    Raises:
      UserError: the task with this index needs tasks that are not done.
      Interrupted: SIGTERM or Ctrl-C was received; a training that was running has saved.
    """
    numbers = range(len(tasks)) if index is None else [index]
    problems: dict[epath.Path, str] = {}
    count = Tasks(len(numbers))
    for number in numbers:
        task, where = tasks[number], f"[--index={number} of {len(tasks)}] {tasks[number].name}"
        missing = [needed.directory.name for needed in task.needs if not is_done(needed)]
        if is_done(task):
            say(f"{where}: already done")
            count.skip()
            continue
        if missing and index is not None:
            raise UserError(f"--index={index} ({task.name}) needs {', '.join(missing)}: run those first")
        task.directory.mkdir(parents=True, exist_ok=True)
        needs = f"these tasks must be done first: {', '.join(missing)}" if missing else None
        problem = needs or obstacle(task) or _do(task, where, say)
        if problem is not None:
            problems[task.directory] = problem
            with _alone(workdir, say):
                note_failure(task.directory, problem)
            say(f"{where}: failed: {problem}")
        else:
            hparams.write(task, tasks, say)
        count.done()
    with _alone(workdir, say):
        for task in tasks:  # the table leaves out results that are out of date
            if evaluation(task.directory) is not None and task.directory not in problems:
                note_failure(task.directory, difference(task))
        found = sweep_table.table(workdir, sweep)
        sweep_table.write(workdir, found)
    return found


def _do(task: Task, where: str, say: Callable[[str], None]) -> str | None:
    """Train and test, only once even if two sweeps run this task. Return why it failed, or None."""
    result = task.directory / EVALUATION
    with _alone(task.directory, say, f"{where}: waiting for another sweep that is running it"):
        # A training keeps running if its sweep is killed.
        with _alone(task.directory, say, f"{where}: waiting for a training that is running", "lock"):
            pass
        if is_done(task):
            return None
        before = result.read_bytes() if result.exists() else None
        result.unlink(missing_ok=True)
        note_failure(task.directory, None)
        for verb, arguments in (("train", task.train), ("evaluate", task.evaluate)):
            if arguments:
                say(f"{where}: {command_line(verb, arguments)}")
                status, message = _command(verb, arguments, task.directory)
                if status:
                    if verb == "train" and status == UserError.status and before is not None:
                        files.write(result, before)  # the training was refused, so the network is unchanged
                    return message
    return None


def command_line(verb: str, arguments: Sequence[str]) -> str:
    """Return a command as a user would type it."""
    return f"alexnet-jax {verb} {shlex.join(arguments)}"


def _command(verb: str, arguments: Sequence[str], directory: epath.Path) -> tuple[int, str]:
    """Run a verb in a separate process.

    Its standard error goes to ``stderr.log`` in the directory. If this process is killed, the other one can
    still write there, and save.

    Returns:
      The exit status and the error message.

    Raises:
      Interrupted: this process received a signal to stop, and the other one has stopped.
    """
    with contextlib.ExitStack() as opened:
        log = directory / STDERR
        if is_remote(directory):  # a subprocess can't write there: copy the file afterwards
            log = epath.Path(opened.enter_context(tempfile.TemporaryDirectory())) / STDERR
            opened.callback(lambda: files.write(directory / STDERR, log.read_bytes()))
        return _run(verb, arguments, log, directory / STDERR)


def _run(verb: str, arguments: Sequence[str], log: epath.Path, kept: epath.Path) -> tuple[int, str]:
    """Do the same as `_command`. Write standard error to ``log``; for the user it is at ``kept``."""
    received: list[int] = []
    process: subprocess.Popen[bytes] | None = None

    def pass_on(signum: int, frame: FrameType | None) -> None:
        received.append(signum)
        # A scheduler sends SIGTERM to every process. A second one would end the training before it saves.
        if process is not None:
            process.send_signal(signal.SIGINT)

    with log.open("w") as stderr, stopping.handled(pass_on):
        # In a separate process group, so that Ctrl-C reaches it once, through `pass_on`.
        command = [sys.executable, "-m", "alexnet_jax", verb, *arguments]
        process = subprocess.Popen(command, stderr=stderr, process_group=0)
        if received:
            process.send_signal(signal.SIGINT)
        status = process.wait()
    message = _error_message(log)
    if received:
        stopped = f"{verb} stopped with status {status}" + (f" ({message})" if message else "")
        raise Interrupted(received[0], f"{stopped}; finished tasks are kept")
    if status < 0:
        message = f"{verb} was killed by {signal.Signals(-status).name}"
    return status, message or f"{verb} ended with status {status}: see {kept}"


def _error_message(log: epath.Path) -> str:
    """Return the last error message of a command, without its advice to resume; empty if there is none."""
    lines = log.read_bytes().decode(errors="replace").splitlines()
    found = [line for line in lines if line.startswith(PREFIX) and not line.startswith(NOTE)]
    return found[-1].removeprefix(PREFIX).partition(RESUME)[0] if found else ""


def _alone(
    directory: epath.Path, say: Callable[[str], None], waiting: str | None = None, lock: str = "sweep.lock"
) -> contextlib.AbstractContextManager[Any]:
    """Hold a lock in a directory, so that only one process at a time uses it.

    Args:
      directory: the directory.
      say: function that prints a line for the user.
      waiting: line to print if another process holds the lock; None for none.
      lock: name of the lock's file.
    """

    def busy(*_: str) -> None:
        if waiting is not None:
            say(waiting)

    return lease.held(directory / lock, busy, say) if is_remote(directory) else locked(directory / lock, busy)
