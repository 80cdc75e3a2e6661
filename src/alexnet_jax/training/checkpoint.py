"""Checkpoints through Orbax, in ``WORKDIR/checkpoints/STEP``.

A checkpoint has three items. The parameters are one of them, so that evaluation reads nothing else. The
optimizer's state is the second. The third, "host", is JSON: the format, the plateau schedule, the validation
error if it is known at this step, and the arrays' checksums. (Orbax detects torn files, but not a flipped bit
in a kernel.)
"""

import contextlib
import dataclasses
import gc
import logging
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import TracebackType
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging as absl_logging
from etils import epath
from jax.sharding import Mesh

from alexnet_jax.errors import RunError, UserError
from alexnet_jax.net.model import Net, abstract_params
from alexnet_jax.net.shapes import Params
from alexnet_jax.parallel import hosts
from alexnet_jax.parallel.placement import on_devices, param_specs, shardings
from alexnet_jax.training.checksums import checksums
from alexnet_jax.training.optimizer import Plateau
from alexnet_jax.training.step import TrainState

FORMAT = 2
"""The format of a checkpoint; it changes whenever an older version could not read a new checkpoint."""


class Checkpoints:
    """The checkpoints of a workdir: written in the background, the last few and the best kept."""

    def __init__(self, workdir: epath.Path, keep: int | None = None) -> None:
        """Opens them to write, keeping the last ``keep`` and the best; to read only, without it."""
        self.directory = workdir / "checkpoints"
        self._writer: ocp.CheckpointManager | None = None
        if keep:
            try:
                self.directory.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(
                    f"the workdir {workdir} can't be written: {error.strerror or error}"
                ) from error
            hosts.check_shared(self.directory)
            self._writer = _manager(
                self.directory,
                ocp.options.MultiprocessingOptions(),
                preservation_policy=_LastAndBest(keep, self),
                cleanup_tmp_directories=True,
            )
        # Each process reads by itself: in Orbax's own restore they wait for one another at the end, which
        # one that finds its part damaged never reaches. What they found is compared afterwards.
        mine = jax.process_index()
        alone = ocp.options.MultiprocessingOptions(
            primary_host=mine, active_processes={mine}, barrier_sync_key_prefix=f"process{mine}"
        )
        self._reader = _manager(self.directory, alone, read_only=True)
        self._errors: dict[int, float] = {}
        for step in self.steps():
            with contextlib.suppress(Exception):  # a torn file; who restores this step will say so
                self._note_error(step, self._restore(step)["host"]["top1_error"])

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and jax.process_count() > 1:
            return  # a process that is gone would be waited for
        self._reader.close()
        if self._writer is not None:
            with self._writing():
                self._writer.close()  # waits for what is being written

    def steps(self) -> list[int]:
        """The steps that there are, rising."""
        return sorted((self._writer or self._reader).all_steps()) if self.directory.exists() else []

    def best(self) -> tuple[int, float] | None:
        """(step, error) of the lowest validation error, of equal ones the last; None before an evaluation."""
        errors = {step: self._errors[step] for step in self.steps() if step in self._errors}
        return min(errors.items(), key=lambda item: (item[1], -item[0]), default=None)

    def save(self, step: int, state: TrainState, plateau: Plateau, error: float | None) -> None:
        """Begins to write a checkpoint; ``error`` is the validation error if it is known at this step.

        Raises:
          RunError: a number in it is not finite, or this one or the one before can't be written.
        """
        assert self._writer is not None, "opened to read"
        sums, finite = checksums({"params": state.params, "opt_state": state.opt_state})
        if not finite:
            raise RunError(f"the parameters are no longer finite at step {step}")
        sums = {name: jax.tree.leaves(tree) for name, tree in sums.items()}
        host = {"format": FORMAT, "plateau": dataclasses.asdict(plateau), "top1_error": error, **sums}
        with self._writing():
            self._writer.save(
                step,
                args=ocp.args.Composite(
                    params=ocp.args.PyTreeSave(state.params),
                    opt_state=ocp.args.PyTreeSave(state.opt_state),
                    host=ocp.args.JsonSave(host),
                ),
                force=True,
            )
        self._note_error(step, error)

    def wait(self) -> None:
        """Until everything is on disk."""
        assert self._writer is not None, "opened to read"
        with self._writing():
            self._writer.wait_until_finished()

    def restore_last(
        self, state: TrainState, say: Callable[[str], None]
    ) -> tuple[int, TrainState, Plateau] | None:
        """(step, state, schedule) of the last whole checkpoint, or None where there is none.

        Damaged ones are set aside as ``STEP.damaged``, and said so.

        Args:
          state: shapes, types and shardings.
          say: takes a line for the user.

        Raises:
          RunError: there are checkpoints, but none is whole.
        """
        hosts.same({"the checkpoints' steps": self.steps()})
        damaged = []
        for step in reversed(self.steps()):
            try:
                restored = self._restore(step, params=state.params, opt_state=state.opt_state)
                plateau = Plateau(**restored["host"]["plateau"])
            except UserError:
                raise
            except Exception as error:  # whatever a torn file makes Orbax raise
                say(f"checkpoint {step} is damaged and passed over ({_first_line(error)})")
                damaged.append(step)
                continue
            for later in damaged:
                self._set_aside(later)
            number = on_devices(np.int32(step), state.step.sharding.mesh)
            return step, TrainState(number, restored["params"], restored["opt_state"]), plateau
        if damaged:
            raise RunError(f"no checkpoint in {self.directory} can be read")
        return None

    def restore_params(self, step: str | int, model: Net, mesh: Mesh) -> tuple[int, Params]:
        """(step, parameters) of one checkpoint, on any mesh.

        Args:
          step: ``last``, ``best`` (lowest validation error) or a number.
          model: whose parameters they are.
          mesh: where to put them.

        Raises:
          UserError: no checkpoint, not that step, no best one, or a damaged one.
        """
        number = self._number(step)
        params = abstract_params(model)
        placed = jax.tree.map(
            lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
            params,
            shardings(mesh, param_specs(model.shapes)),
        )
        try:
            return number, self._restore(number, params=placed)["params"]
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"checkpoint {number} in {self.directory} is damaged ({_first_line(error)}):"
                " choose another --step"
            ) from error

    def _note_error(self, step: int, error: float | None) -> None:
        if error is not None:
            self._errors[step] = error

    def _set_aside(self, step: int) -> None:
        """Out of the way of the run that goes on, but not gone."""
        assert self._writer is not None, "opened to read"
        if hosts.is_first():
            aside = self.directory / f"{step}.damaged"
            if aside.exists():
                aside.rmtree()
            (self.directory / str(step)).rename(aside)
        hosts.all_true(True)  # once it is gone
        self._writer.reload()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """A disk that is full, or gone, ends the run with a line."""
        try:
            yield
        except Exception as error:
            raise RunError(
                f"a checkpoint can't be written in {self.directory} ({_first_line(error)});"
                " those before it are whole"
            ) from error

    def _restore(self, step: int, **abstract: Any) -> dict[str, Any]:
        """Return the named items and ``host`` of a checkpoint, after comparing their checksums.

        Raises:
          UserError: it has another format.
          Exception: it is damaged; Orbax raises many kinds.
        """
        self._check_format(step)
        items = {
            name: ocp.args.PyTreeRestore(tree, ocp.checkpoint_utils.construct_restore_args(tree))
            for name, tree in abstract.items()
        }
        restored, problem = None, None
        try:
            with _quiet():
                restored = self._reader.restore(
                    step, args=ocp.args.Composite(host=ocp.args.JsonRestore(), **items)
                )
        except Exception as error:
            problem = error
        shared = any(not x.sharding.is_fully_addressable for x in jax.tree.leaves(abstract))
        if (shared and not hosts.all_true(problem is None)) or restored is None:
            raise problem or ValueError("another process can't read its part")
        for name in abstract:
            if jax.tree.leaves(checksums(restored[name])[0]) != restored["host"][name]:
                raise ValueError(f"the checksums of its {name} differ")
        return restored

    def _check_format(self, step: int) -> None:
        """Refuse a checkpoint that this version cannot read. One that is damaged is left to `_restore`."""
        found = FORMAT
        with contextlib.suppress(Exception), _quiet():
            host = self._reader.restore(step, args=ocp.args.Composite(host=ocp.args.JsonRestore()))["host"]
            found = host.get("format", 1)
        if found != FORMAT:
            raise UserError(
                f"checkpoint {step} in {self.directory} has format {found}, but this alexnet-jax reads format"
                f" {FORMAT}: use the version that wrote it, or train again in another --workdir"
            )

    def _number(self, step: str | int) -> int:
        steps = self.steps()
        if not steps:
            raise UserError(f"there is no checkpoint in {self.directory}")
        if step == "last":
            return steps[-1]
        if step == "best":
            best = self.best()
            if best is None:
                raise UserError(f"no checkpoint in {self.directory} has a validation error: take --step=last")
            return best[0]
        try:
            number = int(step)
        except ValueError:
            raise UserError(f"--step is {step!r}, but must be last, best or a number") from None
        if number not in steps:
            raise UserError(
                f"no checkpoint {number} in {self.directory}; there are {', '.join(map(str, steps))}"
            )
        return number


def _manager(
    directory: epath.Path, processes: ocp.options.MultiprocessingOptions, **options: Any
) -> ocp.CheckpointManager:
    # What a net learns is noise to a compressor, which would take from the steps what it takes from the disk.
    arrays = partial(ocp.PyTreeCheckpointHandler, multiprocessing_options=processes, use_compression=False)
    verbosity = absl_logging.get_verbosity()
    absl_logging.set_verbosity(min(verbosity, absl_logging.ERROR))  # or a reader is warned that it reads
    try:
        return ocp.CheckpointManager(
            directory,
            options=ocp.CheckpointManagerOptions(create=False, multiprocessing_options=processes, **options),
            item_handlers={
                "params": arrays(),
                "opt_state": arrays(),
                "host": ocp.JsonCheckpointHandler(multiprocessing_options=processes),
            },
        )
    finally:
        absl_logging.set_verbosity(verbosity)


@dataclasses.dataclass(frozen=True)
class _LastAndBest:
    """Preserve the last few checkpoints and the best.

    Orbax's own ``BestN`` reads a metrics file of each checkpoint when the manager is opened. In orbax 0.12.8
    one torn file then keeps the manager from opening.
    """

    last: int
    checkpoints: Checkpoints

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        del context
        best = self.checkpoints.best()
        newest = len(checkpoints) - self.last
        return [i >= newest or (best is not None and c.step == best[0]) for i, c in enumerate(checkpoints)]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the tracebacks of reads that were still under way when the first one failed."""
    asyncio_log = logging.getLogger("asyncio")
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    asyncio_log.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # coroutines that nobody awaits any more
            try:
                yield
            except Exception:
                time.sleep(0.2)
                gc.collect()
                raise
    finally:
        sys.unraisablehook, asyncio_log.disabled = hook, False


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:120]
