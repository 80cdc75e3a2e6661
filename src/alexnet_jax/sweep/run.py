"""Run a sweep's tasks: each training and each test is a command of its own, so that it can fail alone."""

import contextlib
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

from etils import epath

from alexnet_jax import files
from alexnet_jax.errors import NOTE, PREFIX, RESUME, Interrupted, UserError
from alexnet_jax.files import locked
from alexnet_jax.runtime.progress import Tasks
from alexnet_jax.sweep import directory as sweep_directory
from alexnet_jax.sweep import table as sweep_table
from alexnet_jax.sweep.directory import EVALUATION, STDERR, evaluation, note_failure, refuse_another
from alexnet_jax.sweep.spec import Sweep
from alexnet_jax.sweep.table import Table
from alexnet_jax.sweep.tasks import Task, difference, is_done, obstacle


def begin(path: str, sweep: Sweep, workdir: epath.Path, overrides: Sequence[str]) -> None:
    """Create the directory of a sweep, or check that it is this sweep's.

    Raises:
      UserError: the directory is another sweep's or a training's, or can't be written.
    """
    try:
        refuse_another(path, overrides, workdir)  # before anything is written in another's directory
        workdir.mkdir(parents=True, exist_ok=True)
        with _alone(workdir):
            refuse_another(path, overrides, workdir)  # another sweep may have created it meanwhile
            sweep_directory.write(workdir, path, sweep, overrides)
    except OSError as error:
        raise UserError(f"the workdir {workdir} can't be written: {error.strerror or error}") from error


def run(
    tasks: Sequence[Task], index: int | None, sweep: Sweep, workdir: epath.Path, say: Callable[[str], None]
) -> Table:
    """Run the tasks that are not done. If a task fails, note why and run the others.

    Args:
      tasks: all tasks of the sweep, from `tasks.tasks`.
      index: index of the only task to run; None for all, in order.
      sweep: sweep of the tasks.
      workdir: directory of the sweep.
      say: function that takes a line for the user.

    Returns:
      The table of all results so far, which is also written.

    Raises:
      UserError: the task of this index needs others that are not done.
      Interrupted: SIGTERM or Ctrl-C came; the training has saved.
    """
    numbers = range(len(tasks)) if index is None else [index]
    problems: dict[epath.Path, str] = {}
    count = Tasks(len(numbers))
    for number in numbers:
        task, where = tasks[number], f"[--index={number} of {len(tasks)}] {tasks[number].name}"
        missing = [net.directory.name for net in task.needs if not is_done(net)]
        if is_done(task):
            say(f"{where}: done before")
            count.skip()
            continue
        if missing and index is not None:
            raise UserError(f"--index={index}, {task.name}, needs {', '.join(missing)}: run those first")
        task.directory.mkdir(parents=True, exist_ok=True)
        needs = f"needs {', '.join(missing)}, not trained" if missing else None
        problem = needs or obstacle(task) or _do(task, where, say)
        if problem is not None:
            problems[task.directory] = problem
            with _alone(workdir):
                note_failure(task.directory, problem)
            say(f"{where}: failed: {problem}")
        count.done()
    with _alone(workdir):
        for task in tasks:  # the table leaves out results of other settings
            if evaluation(task.directory) is not None and task.directory not in problems:
                note_failure(task.directory, difference(task))
        found = sweep_table.table(workdir, sweep)
        sweep_table.write(workdir, found)
    return found


def _do(task: Task, where: str, say: Callable[[str], None]) -> str | None:
    """Train and test, once even if two sweeps run this task; return why that failed, or None."""
    result = task.directory / EVALUATION
    with _alone(task.directory, busy=lambda: say(f"{where}: waiting for another sweep that runs it")):
        # A training continues if its sweep was killed.
        with _alone(task.directory, "lock", lambda: say(f"{where}: waiting for a training that is running")):
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
                        files.write(result, before)  # it was refused: the net is unchanged
                    return message
    return None


def command_line(verb: str, arguments: Sequence[str]) -> str:
    """Return a command as a user would type it."""
    return f"alexnet-jax {verb} {shlex.join(arguments)}"


def _command(verb: str, arguments: Sequence[str], directory: epath.Path) -> tuple[int, str]:
    """Run a verb in a process of its own.

    Its standard error is written to ``stderr.log`` in the directory. The process can still write there, and
    save, after this one was killed.

    Returns:
      Its exit status, and its error message.

    Raises:
      Interrupted: this process received a signal to stop, and the other one has stopped.
    """
    received: list[int] = []
    log = directory / STDERR
    with (
        log.open("w") as stderr,
        # In a process group of its own, so that a terminal's Ctrl-C reaches it once, from here.
        subprocess.Popen(
            [sys.executable, "-m", "alexnet_jax", verb, *arguments], stderr=stderr, process_group=0
        ) as process,
    ):

        def pass_on(signum: int, frame: FrameType | None) -> None:
            received.append(signum)
            # A scheduler sends SIGTERM to every process: a second one would end the training unsaved.
            process.send_signal(signal.SIGINT)

        with _handling(pass_on):
            status = process.wait()
    message = _error_message(log)
    if received:
        stopped = f"{verb} has stopped with status {status}" + (f" ({message})" if message else "")
        raise Interrupted(received[0], f"{stopped}; finished tasks are kept")
    if status < 0:
        message = f"{verb} was ended by {signal.Signals(-status).name}"
    return status, message or f"{verb} ended with status {status}, see {log}"


def _error_message(log: epath.Path) -> str:
    """Return the last error message of a command, without what to do next; empty if there is none."""
    lines = log.read_bytes().decode(errors="replace").splitlines()
    found = [line for line in lines if line.startswith(PREFIX) and not line.startswith(NOTE)]
    return found[-1].removeprefix(PREFIX).partition(RESUME)[0] if found else ""


@contextlib.contextmanager
def _handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {signum: signal.signal(signum, handler) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for signum, old in before.items():
            signal.signal(signum, old)


def _alone(
    directory: epath.Path, lock: str = "sweep.lock", busy: Callable[[], None] = lambda: None
) -> contextlib.AbstractContextManager[None]:
    """Hold a lock of a directory, so that one process at a time uses it."""
    return locked(directory / lock, busy)
