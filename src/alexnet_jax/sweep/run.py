"""Run the tasks of a sweep, as many at a time as this machine has cores or devices.

Each training and each test is a separate process, so that a failure does not stop the others.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from etils import epath

from alexnet_jax import files
from alexnet_jax.errors import UserError
from alexnet_jax.files import is_remote, locked
from alexnet_jax.remote import lease
from alexnet_jax.runtime import progress
from alexnet_jax.runtime.progress import Tasks
from alexnet_jax.sweep import directory as sweep_directory
from alexnet_jax.sweep import hparams
from alexnet_jax.sweep import table as sweep_table
from alexnet_jax.sweep.directory import EVALUATION, evaluation, note_failure, refuse_another
from alexnet_jax.sweep.processes import Processes, command_line, in_slots
from alexnet_jax.sweep.slots import Slot, slots
from alexnet_jax.sweep.spec import Sweep
from alexnet_jax.sweep.table import Table
from alexnet_jax.sweep.tasks import Task, difference, is_done, obstacle, waves

_RETRY = 0.5  # seconds between attempts to take a lock


def begin(path: str, sweep: Sweep, workdir: epath.Path, overrides: Sequence[str]) -> None:
    """Create the directory of a sweep, or check that it holds this sweep.

    Raises:
      UserError: the directory holds another sweep or a training, or can't be written.
    """
    with files.creating("the workdir", workdir):
        refuse_another(path, overrides, workdir)  # before anything is written to the directory
        files.check_inside(workdir)
        workdir.mkdir(parents=True, exist_ok=True)
        with _locked(workdir, progress.say, lambda *_: None):
            files.delete_unfinished(workdir)
            refuse_another(path, overrides, workdir)  # another sweep may have created it meanwhile
            sweep_directory.write(workdir, path, sweep, overrides)


def run(
    tasks: Sequence[Task],
    index: int | None,
    at_once: int | None,
    sweep: Sweep,
    workdir: epath.Path,
    say: Callable[[str], None],
) -> Table:
    """Run the tasks that are not done. If a task fails, record the reason and run the others.

    Args:
      tasks: all tasks of the sweep, from `tasks.tasks`.
      index: index of the only task to run; None for all.
      at_once: largest number of tasks to run at a time; None for as many as this machine has room for.
      sweep: sweep of the tasks.
      workdir: directory of the sweep.
      say: function that prints a line for the user.

    Returns:
      The table of all results so far. It is also written to the directory.

    Raises:
      UserError: the task with this index needs tasks that are not done.
      Interrupted: SIGTERM or Ctrl-C was received; the trainings that were running have saved.
    """
    numbers = range(len(tasks)) if index is None else [index]
    if index is not None and (missing := _missing(tasks[index])):
        raise UserError(f"--index={index} ({tasks[index].name}) needs {missing}: run those first")
    most = max(map(len, waves(tasks)), default=1) if index is None else 1
    most = min(most, at_once or most)
    if most > 1:
        progress.starting(say)
    to_do = [tasks[number] for number in numbers if not is_done(tasks[number])]
    parts = slots([task.config or task.needs[0].config for task in to_do], most)
    if len(parts) > 1:
        say(f"{len(parts)} tasks at a time; [N] before a line is the index of its task")
    with Processes() as processes:
        runner = _Runner(tasks, workdir, say, processes, len(parts) > 1, Tasks(len(numbers)))
        in_slots(runner, _needs(tasks, numbers), parts, processes)
        with runner.alone(workdir):
            for task in tasks:  # the table leaves out results that are out of date
                if evaluation(task.directory) is not None and task.directory not in runner.failed:
                    note_failure(task.directory, difference(task))
            found = sweep_table.table(workdir, sweep)
            sweep_table.write(workdir, found)
    return found


def _missing(task: Task) -> str:
    """Return the names of the tasks that must be done before this one and are not."""
    return ", ".join(net.directory.name for net in task.needs if not is_done(net))


def _needs(tasks: Sequence[Task], numbers: Sequence[int]) -> dict[int, set[int]]:
    """Return the numbers of the tasks to run, each with those that must end before it."""
    number_of = {tasks[number].directory: number for number in numbers}
    return {
        number: {number_of[net.directory] for net in tasks[number].needs if net.directory in number_of}
        for number in numbers
    }


@dataclasses.dataclass(frozen=True)
class _Runner:
    """Runs single tasks, in several threads.

    Attributes:
      tasks: all tasks of the sweep.
      workdir: directory of the sweep.
      say: function that prints a line for the user.
      processes: the processes of the tasks.
      labels_lines: whether each line of a task names it, because others run at the same time.
      count: counts the tasks.
      failed: the directories of the tasks that have failed.
    """

    tasks: Sequence[Task]
    workdir: epath.Path
    say: Callable[[str], None]
    processes: Processes
    labels_lines: bool
    count: Tasks
    failed: set[epath.Path] = dataclasses.field(default_factory=set)

    def __call__(self, number: int, slot: Slot) -> None:
        """Run the task with this number, if it is not done."""
        task, where = self.tasks[number], f"[--index={number} of {len(self.tasks)}] {self.tasks[number].name}"
        if is_done(task):
            self.say(f"{where}: already done")
            self.count.skip()
            return
        task.directory.mkdir(parents=True, exist_ok=True)
        missing = _missing(task)
        needs = f"these tasks must be done first: {missing}" if missing else None
        problem = needs or obstacle(task) or self._train_and_test(number, where, slot)
        if problem is None:
            hparams.write(task, self.tasks, self.say)
        else:
            self.failed.add(task.directory)
            with self.alone(self.workdir):
                note_failure(task.directory, problem)
            self.say(f"{where}: failed: {problem}")
        self.count.done()

    def _train_and_test(self, number: int, where: str, slot: Slot) -> str | None:
        """Train and test, only once even if two sweeps run this task. Return why it failed, or None."""
        task = self.tasks[number]
        result = task.directory / EVALUATION
        lines = (lambda line: self.say(f"[{number}] {line}")) if self.labels_lines else None
        with self.alone(task.directory, f"{where}: waiting for another sweep that is running it"):
            # A training keeps running if its sweep is killed.
            with self.alone(task.directory, f"{where}: waiting for a training that is running", "lock"):
                pass
            if is_done(task):
                return None
            before = result.read_bytes() if result.exists() else None
            result.unlink(missing_ok=True)
            note_failure(task.directory, None)
            for verb, arguments in (("train", task.train), ("evaluate", task.evaluate)):
                if arguments:
                    self.say(f"{where}: {command_line(verb, arguments)}")
                    status, message = self.processes.run(verb, arguments, task.directory, slot, lines)
                    if status:
                        if verb == "train" and status == UserError.status and before is not None:
                            # The training was refused, so the network is unchanged.
                            files.write(result, before)
                        return message
        return None

    @contextlib.contextmanager
    def alone(
        self, directory: epath.Path, waiting: str | None = None, lock: str = "sweep.lock"
    ) -> Iterator[None]:
        """Hold a lock in a directory, so that only one task or process at a time uses it.

        Args:
          directory: the directory.
          waiting: line to print if the lock is held; None for none.
          lock: name of the lock's file.

        Raises:
          Interrupted: a signal to stop was received while the lock was held by another process.
        """

        def busy(*_: str) -> None:
            raise _Busy

        with contextlib.ExitStack() as held:
            while True:
                try:
                    held.enter_context(_locked(directory, self.say, busy, lock))
                    break
                except _Busy:
                    self.processes.check()
                if waiting is not None:
                    self.say(waiting)
                waiting = None
                time.sleep(_RETRY)
            yield


class _Busy(Exception):
    """Another process holds a lock."""


def _locked(
    directory: epath.Path,
    say: Callable[[str], None],
    busy: Callable[..., None],
    lock: str = "sweep.lock",
) -> contextlib.AbstractContextManager[Any]:
    """Hold a lock in a directory, on a disk or in a bucket."""
    path = directory / lock
    return lease.held(path, busy, say) if is_remote(directory) else locked(path, busy)
