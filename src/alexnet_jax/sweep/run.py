"""Runs a sweep's tasks: each training and each test is a command of its own, which may fail alone."""

import contextlib
import json
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
from alexnet_jax.sweep import spec as sweep_lib
from alexnet_jax.sweep import table as sweep_table
from alexnet_jax.sweep.spec import Sweep, evaluation
from alexnet_jax.sweep.table import Table
from alexnet_jax.sweep.tasks import Task, difference, is_done, obstacle

_NOTE, _LOG = "failed.txt", "stderr.log"


def begin(path: str, sweep: Sweep, workdir: epath.Path, overrides: Sequence[str]) -> None:
    """Makes the sweep's directory, or finds that it is this sweep's.

    Raises:
      UserError: it is another's, or can't be written.
    """
    try:
        refuse_another(path, overrides, workdir)  # before anything is written in what is another's
        workdir.mkdir(parents=True, exist_ok=True)
        with _alone(workdir):
            refuse_another(path, overrides, workdir)  # that has come meanwhile
            files.write(workdir / "sweep.json", sweep_lib.to_json(path, sweep, overrides).encode())
    except OSError as error:
        raise UserError(f"the workdir {workdir} can't be written: {error.strerror or error}") from error


def refuse_another(path: str, overrides: Sequence[str], workdir: epath.Path) -> None:
    """Does nothing where the sweep's directory is new, or its own.

    Raises:
      UserError: it is another sweep's, or a training's.
    """
    if not (workdir / "sweep.json").exists():
        if (workdir / "config.json").exists():
            raise UserError(f"{workdir} holds a training, not a sweep: take another --workdir")
        return
    try:
        before = json.loads((workdir / "sweep.json").read_text())
        there = {key: before[key] for key in ("config", "overrides")}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{workdir} holds a sweep.json that can't be read ({error}): delete it") from error
    asked = sweep_lib.identity(path, overrides)
    if there != asked:
        before, now = (" ".join([each["config"], *each["overrides"]]) for each in (there, asked))
        raise UserError(f"{workdir} holds another sweep, {before}, not {now}: take another --workdir")


def run(
    tasks: Sequence[Task], index: int | None, sweep: Sweep, workdir: epath.Path, say: Callable[[str], None]
) -> Table:
    """Does what is not done yet; a task that fails is noted, and the others go on.

    Args:
      tasks: from `sweep_tasks.tasks`.
      index: of the only one to do; None for all, in turn.
      sweep: that they are of.
      workdir: where it lies.
      say: takes a line for the user.

    Returns:
      The table of what is done then, which is also written.

    Raises:
      UserError: no such index, or one that needs others that are not done.
      Interrupted: SIGTERM or Ctrl-C came; what was trained is saved.
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
                _note(task, problem)
            say(f"{where}: failed: {problem}")
        count.done()
    with _alone(workdir):
        for task in tasks:  # the table is not to hold what was asked for before
            if evaluation(task.directory) is not None and task.directory not in problems:
                _note(task, difference(task))
        found = sweep_table.table(workdir, sweep)
        sweep_table.write(workdir, found)
    return found


def _note(task: Task, problem: str | None) -> None:
    """Why a task has no result that counts, for the table; None: it has one. One process at a time."""
    note = task.directory / _NOTE
    if problem is None:
        note.unlink(missing_ok=True)
    else:
        files.write(note, f"{problem}\n".encode())


def _do(task: Task, where: str, say: Callable[[str], None]) -> str | None:
    """Trains and tests, once where two sweeps want it; returns why that failed, if it did."""
    result = task.directory / "evaluation.json"
    with _alone(task.directory, busy=lambda: say(f"{where}: waits for another sweep that does it")):
        # Of a training that goes on although its sweep was killed.
        with _alone(task.directory, "lock", lambda: say(f"{where}: waits for a training that is under way")):
            pass
        if is_done(task):
            return None
        before = result.read_bytes() if result.exists() else None
        result.unlink(missing_ok=True)
        (task.directory / _NOTE).unlink(missing_ok=True)
        for verb, arguments in (("train", task.train), ("evaluate", task.evaluate)):
            if arguments:
                say(f"{where}: {command_line(verb, arguments)}")
                status, complaint = _command(verb, arguments, task.directory)
                if status:
                    if verb == "train" and status == UserError.status and before is not None:
                        files.write(result, before)  # it was refused: the net is what it was
                    return complaint
    return None


def command_line(verb: str, arguments: Sequence[str]) -> str:
    """What a user would type."""
    return f"alexnet-jax {verb} {shlex.join(arguments)}"


def _command(verb: str, arguments: Sequence[str], directory: epath.Path) -> tuple[int, str]:
    """Run a verb in a process of its own.

    Its standard error goes to ``stderr.log`` in the directory, so that the process can still write to it, and
    save, if this one was killed.

    Returns:
      Its status, and its error message.

    Raises:
      Interrupted: this process was asked to stop, and the other one has stopped.
    """
    received: list[int] = []
    log = directory / _LOG
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
    complaint = _complaint(log)
    if received:
        message = f"{verb} has stopped with status {status}" + (f" ({complaint})" if complaint else "")
        raise Interrupted(received[0], f"{message}; what is done stays")
    if status < 0:
        complaint = f"{verb} was ended by {signal.Signals(-status).name}"
    return status, complaint or f"{verb} ended with status {status}, see {log}"


def _complaint(log: epath.Path) -> str:
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
    """One process at a time in a directory of the sweep."""
    return locked(directory / lock, busy)
