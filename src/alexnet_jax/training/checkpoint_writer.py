"""Write the checkpoints of a run in the background, and resume from them."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from alexnet_jax.errors import RunError, UserError
from alexnet_jax.parallel import hosts
from alexnet_jax.parallel.placement import on_devices
from alexnet_jax.training.checkpoint import FORMAT, Checkpoints, by_path, first_line, lowest, manager
from alexnet_jax.training.checksums import checksums
from alexnet_jax.training.schedule import Plateau
from alexnet_jax.training.state import TrainState
from alexnet_jax.training.tally import Tally


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
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"the workdir {workdir} can't be written: {error.strerror or error}") from error
        hosts.check_shared(self.directory)
        self._manager = manager(
            self.directory,
            ocp.options.MultiprocessingOptions(),
            preservation_policy=_LastAndBest(keep, self),
            cleanup_tmp_directories=True,
        )
        self._reader = Checkpoints(workdir)

    def __enter__(self) -> "CheckpointWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and jax.process_count() > 1:
            return  # closing would wait for a process that has ended
        self._reader.close()
        with self._writing():
            self._manager.close()  # waits for a checkpoint that is being written

    def steps(self) -> list[int]:
        """Return the steps of all checkpoints, rising."""
        return sorted(self._manager.all_steps())

    def best(self) -> tuple[int, float] | None:
        """Return the same as `Checkpoints.best`."""
        return lowest({step: self._errors.get(step) for step in self.steps()})

    def save(self, step: int, state: TrainState, plateau: Plateau, error: float | None, tally: Tally) -> None:
        """Start to write a checkpoint in the background.

        Args:
          step: number of updates done.
          state: state after these updates.
          plateau: state of the schedule.
          error: validation error, a fraction; None if it is not known at this step.
          tally: sums of the metrics since the last line of the log.

        Raises:
          RunError: an element of the state is not finite, or this checkpoint or the previous one can't be
            written.
        """
        sums, finite = checksums({"params": state.params, "opt_state": state.opt_state})
        if not finite:
            raise RunError(
                f"the parameters or the optimizer's state are not finite at step {step}: resume with a"
                " smaller --config.optimizer.learning_rate"
            )
        host = {
            "format": FORMAT,
            "plateau": dataclasses.asdict(plateau),
            "top1_error": error,
            "tally": dataclasses.asdict(tally),
        }
        errors = self._errors  # read before this checkpoint exists
        with self._writing():
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    params=ocp.args.PyTreeSave(state.params),
                    opt_state=ocp.args.PyTreeSave(state.opt_state),
                    host=ocp.args.JsonSave(host | {name: by_path(tree) for name, tree in sums.items()}),
                ),
                force=True,
            )
        errors[step] = error

    def wait(self) -> None:
        """Wait until all checkpoints are on disk."""
        with self._writing():
            self._manager.wait_until_finished()

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
        hosts.same({"the checkpoints' steps": self.steps(), "the checkpoints' errors": self._errors})
        damaged = []
        for step in reversed(self.steps()):
            try:
                restored = self._reader.restore(step, params=state.params, opt_state=state.opt_state)
                plateau = Plateau(**restored["host"]["plateau"])
                tally = Tally(**restored["host"]["tally"])
            except UserError:
                raise
            except Exception as error:  # whatever a torn file makes Orbax raise
                say(f"checkpoint {step} is damaged and skipped ({first_line(error)})")
                damaged.append(step)
                continue
            for later in damaged:
                self._set_aside(later)
            number = on_devices(np.int32(step), state.step.sharding.mesh)
            return step, TrainState(number, restored["params"], restored["opt_state"]), plateau, tally
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

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Raise a `RunError` of one line if the disk is full or missing."""
        try:
            yield
        except Exception as error:
            raise RunError(
                f"a checkpoint can't be written in {self.directory} ({first_line(error)}); earlier ones are"
                " intact: run the same command again to resume"
            ) from error


@dataclasses.dataclass(frozen=True)
class _LastAndBest:
    """A policy that preserves the last few checkpoints and the best.

    Orbax's own ``BestN`` reads a metrics file of each checkpoint when the manager is opened. In orbax 0.12.8
    the manager can't be opened if one of these files is torn.
    """

    last: int
    writer: CheckpointWriter

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        del context
        best = self.writer.best()
        newest = len(checkpoints) - self.last
        return [i >= newest or (best is not None and c.step == best[0]) for i, c in enumerate(checkpoints)]
