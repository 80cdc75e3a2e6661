"""Write the checkpoints of a run in the background, read them back, and resume from them.

A checkpoint is deleted only when a later one has been read back from the disk and is intact.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from alexnet_jax import files
from alexnet_jax.errors import RunError, UserError
from alexnet_jax.files import is_remote
from alexnet_jax.parallel import hosts, watchdog
from alexnet_jax.parallel.placement import on_devices
from alexnet_jax.runtime import device_errors
from alexnet_jax.training.checkpoint import RERUN, Checkpoints, by_path, lowest, manager
from alexnet_jax.training.checksums import checksums
from alexnet_jax.training.orbax_log import orbax_warnings, quiet
from alexnet_jax.training.record import ITEMS, Record
from alexnet_jax.training.schedule import Plateau
from alexnet_jax.training.state import TrainState
from alexnet_jax.training.tally import Tally
from alexnet_jax.training.workdir import COMMITTED

_PATIENCE = 60.0  # seconds that a failing process waits until the others have written a checkpoint


class CheckpointWriter:
    """A writer of the checkpoints of a run. It keeps the last few and the best.

    Args:
      workdir: workdir of the run. Its directory ``checkpoints`` is created if it does not exist.
      keep: number of the last checkpoints to keep.

    Raises:
      UserError: the directory can't be written, or the processes do not share it.
    """

    def __init__(self, workdir: epath.Path, keep: int) -> None:
        self.directory = workdir / "checkpoints"
        with files.creating("the workdir", workdir):
            self.directory.mkdir(parents=True, exist_ok=True)
        hosts.check_shared(self.directory)
        self._keep = keep
        self._verifying: tuple[int, Future[str | None]] | None = None
        self._last_was_damaged = False
        with contextlib.ExitStack() as opened:
            self._reader = opened.enter_context(Checkpoints(workdir))
            self._manager = manager(
                self._reader.plain, ocp.options.MultiprocessingOptions(), cleanup_tmp_directories=True
            )
            opened.callback(self._close)
            opened.enter_context(quiet())
            self._warnings = opened.enter_context(orbax_warnings())
            self._background = opened.enter_context(ThreadPoolExecutor(1))
            self._opened = opened.pop_all()
        self._steps = sorted(self._manager.all_steps())
        if hosts.is_first() and not is_remote(self.directory):
            for left in self.directory.iterdir():  # by a run that was killed
                if left.name.endswith(".deleted"):
                    self._background.submit(left.rmtree)

    def __enter__(self) -> "CheckpointWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and jax.process_count() > 1:
            if isinstance(error, RunError) and self._verifying is not None:
                wait([self._verifying[1]], _PATIENCE)  # the other processes still write their parts
            return  # closing would wait for a process that has ended
        with self._opened:
            if error is None:
                self.wait()

    def steps(self) -> list[int]:
        """Return the steps of all checkpoints, rising."""
        return list(self._steps)

    def best(self) -> tuple[int, float] | None:
        """Return (step, error) of the lowest validation error; None if no checkpoint has one."""
        return lowest({step: self._errors.get(step) for step in self._steps})

    def save(self, step: int, state: TrainState, plateau: Plateau, error: float | None, tally: Tally) -> None:
        """Start to write a checkpoint in the background, and then to read it back.

        Args:
          step: number of updates done.
          state: state after these updates.
          plateau: state of the schedule.
          error: validation error, a fraction; None if it is not known at this step.
          tally: sums of the metrics since the last line of the log.

        Raises:
          RunError: an element of the state is not finite, this checkpoint or the previous one can't be
            written, or the previous two are damaged.
        """
        items = {name: getattr(state, name) for name in ITEMS}
        sums, finite = checksums(items)
        if not finite:
            raise RunError(
                f"the parameters or the optimizer's state are not finite at step {step}: resume with a"
                " smaller --config.optimizer.learning_rate"
            )
        if problem := self._settle():
            if self._last_was_damaged:
                raise RunError(f"{problem}, as was the one before it: check the disk, then {RERUN}")
            hosts.say(problem)
        self._last_was_damaged = problem is not None
        record = Record(plateau, error, tally, {name: by_path(tree) for name, tree in sums.items()})
        errors = self._errors  # read before this checkpoint exists
        with self._writing():
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    **{name: ocp.args.PyTreeSave(tree) for name, tree in items.items()},
                    host=ocp.args.JsonSave(record.to_json()),
                ),
                force=True,
            )
        errors[step] = error
        self._steps.append(step)
        shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), items)
        verifying = self._background.submit(self._verify, step, record, shapes)
        watchdog.writes("checkpoint", verifying)
        self._verifying = step, verifying

    def save_now(self, step: int, state: TrainState, plateau: Plateau, tally: Tally) -> int:
        """Do the same as `save`, unless this step is saved, and as `wait`. Return the step."""
        if step not in self._steps:
            self.save(step, state, plateau, None, tally)
        self.wait()
        return step

    def wait(self) -> None:
        """Wait until all checkpoints are on disk and have been read back.

        Raises:
          RunError: the last one can't be written, or is damaged.
        """
        if problem := self._settle():
            raise RunError(f"{problem}: {RERUN}")

    def _close(self) -> None:
        with self._writing():
            self._manager.close()  # waits for a checkpoint that is being written

    def _verify(self, step: int, record: Record, shapes: dict[str, Any]) -> str | None:
        """Read a checkpoint back when it is on disk. Return what is wrong with it; None if nothing is.

        Orbax does not sync the records and the names of folders. Without these, a power cut could destroy
        this checkpoint after the older ones were deleted.
        """
        self._manager.wait_until_finished()
        try:
            files.sync_all(self.directory / str(step))
            self._reader.verify(step, record, **shapes)
        except Exception as error:
            self._reader.refuse_failure(error)
            why = [self._reader.explain(error)] + [
                f"Orbax warned: {line[:200]}" for line in self._warnings[:1]
            ]
            return "; ".join(why)
        return None

    def _settle(self) -> str | None:
        """Wait for the newest checkpoint. Set it aside if it is damaged, or else delete what it replaces.

        Returns:
          A line for the user if it is damaged.
        """
        if self._verifying is None:
            return None
        (step, verifying), self._verifying = self._verifying, None
        with self._writing():
            self._manager.wait_until_finished()
            why = verifying.result()
        self._warnings.clear()
        # Not in `_writing`: if this fails, another process has ended, and the disk is not to blame.
        intact = hosts.all_true(why is None)
        with self._writing():
            if intact:
                self._delete_old()
                return None
            self._set_aside(step)
        why = why or "another process can't read its part"
        return f"checkpoint {step} is damaged and set aside as {step}.damaged ({why})"

    def _delete_old(self) -> None:
        """Delete all but the last few checkpoints and the best, in the background.

        Each is renamed first, so that nobody reads a checkpoint that is half deleted.
        """
        best = self.best()
        kept = {*self._steps[-self._keep :], *([best[0]] if best else [])}
        for step in self._steps if hosts.is_first() else []:
            if step not in kept:
                doomed = self.directory / str(step)
                if is_remote(doomed):  # a rename would copy it. Without this file it is unfinished
                    (doomed / COMMITTED).unlink(missing_ok=True)
                else:
                    doomed = doomed.rename(self.directory / f"{step}.deleted")
                self._background.submit(doomed.rmtree)
        self._steps = sorted(kept)

    def restore_last(
        self, state: TrainState, say: Callable[[str], None]
    ) -> tuple[int, TrainState, Plateau, Tally] | None:
        """Return (step, state, schedule, tally) of the last intact checkpoint; None if there is none.

        Damaged checkpoints are reported, and renamed to ``STEP.damaged``.

        Args:
          state: shapes, types and shardings of the arrays.
          say: function that takes a line for the user.

        Raises:
          UserError: the last intact checkpoint has another format or another optimizer's state.
          RunError: there are checkpoints, but none is intact.
        """
        # If these differed, the processes would decide differently later, and wait for one another.
        hosts.same({"the checkpoints' steps": self._steps, "the checkpoints' errors": self._errors})
        damaged = []
        for step in reversed(self._steps):
            try:
                record, restored = self._reader.restore(step, params=state.params, opt_state=state.opt_state)
            except UserError:
                raise
            except Exception as error:  # whatever a torn file makes Orbax raise
                if device_errors.explain(error):  # the checkpoint is not to blame
                    raise
                self._reader.refuse_failure(error)
                say(f"checkpoint {step} is damaged and skipped ({self._reader.explain(error)})")
                damaged.append(step)
                continue
            for later in damaged:
                self._set_aside(later)
            self._delete_old()  # a killed run may not have done it
            number = on_devices(np.int32(step), state.step.sharding.mesh)
            new = TrainState(number, restored["params"], restored["opt_state"])
            return step, new, record.plateau, record.tally
        if damaged:
            raise RunError(f"no checkpoint in {self.directory} can be read: train again in another --workdir")
        return None

    @functools.cached_property
    def _errors(self) -> dict[int, float | None]:
        """The validation error of each checkpoint, as far as it is known."""
        return self._reader.errors()

    def _set_aside(self, step: int) -> None:
        """Rename a damaged checkpoint, so that the run can write this step again."""
        if hosts.is_first():
            aside = self.directory / f"{step}.damaged"
            if aside.exists():
                aside.rmtree()
            (self.directory / str(step)).rename(aside)
        hosts.all_true(True)  # wait until it is renamed
        self._manager.reload()
        self._steps.remove(step)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Raise a `RunError` of one line if the disk is full or missing."""
        try:
            with watchdog.waiting_for("checkpoint"):
                yield
        except RunError:
            raise
        except Exception as error:
            raise RunError(
                f"a checkpoint can't be written in {self.directory} ({self._reader.explain(error)});"
                f" earlier ones are intact: {RERUN}"
            ) from error
