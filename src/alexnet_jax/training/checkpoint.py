"""Checkpoints of Orbax in ``WORKDIR/checkpoints/STEP``: their content, and a class that reads them.

A checkpoint has three items. "params" has the parameters, so that evaluation need not read more. "opt_state"
has the state of the optimizer. "host" is a `Record`, with the checksum of each array. (Orbax detects torn
files, but not a flipped bit in a kernel.)
"""

import contextlib
import gc
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging as absl_logging
from etils import epath
from jax.sharding import Mesh

from alexnet_jax import files
from alexnet_jax.errors import RunError, UserError
from alexnet_jax.files import is_remote
from alexnet_jax.net.model import Net, abstract_params
from alexnet_jax.net.shapes import Params
from alexnet_jax.parallel import hosts
from alexnet_jax.parallel.placement import param_specs, shardings
from alexnet_jax.runtime import device_errors
from alexnet_jax.training.checksums import checksum, checksums
from alexnet_jax.training.plain_path import plain_path
from alexnet_jax.training.record import OtherFormat, Record
from alexnet_jax.training.schedule import Plateau

_LOOKS = 20  # attempts to read checkpoints that a running training replaces meanwhile
_GONE = (FileNotFoundError, NotADirectoryError)  # Orbax's errors if a checkpoint is deleted meanwhile
RERUN = "run the same command again to resume"


class Checkpoints:
    """A reader of the checkpoints of a workdir.

    Each process reads without waiting for the others, and they compare their results afterwards. In Orbax's
    own restore all processes wait for one another at the end. They would wait in vain for a process that
    finds its part damaged.

    Attributes:
      directory: directory of the checkpoints.
      plain: path of the same directory for Orbax, from `plain_path`.
    """

    def __init__(self, workdir: epath.Path) -> None:
        self.directory = workdir / "checkpoints"
        mine = jax.process_index()
        alone = ocp.options.MultiprocessingOptions(
            primary_host=mine, active_processes={mine}, barrier_sync_key_prefix=f"process{mine}"
        )
        _refuse_pipes(self.directory)
        with contextlib.ExitStack() as opened:
            self.plain = opened.enter_context(plain_path(self.directory))
            for look in range(_LOOKS):
                try:
                    self._manager = manager(self.plain, alone, read_only=True)
                    break
                except _GONE:
                    if look == _LOOKS - 1:
                        raise
            opened.callback(self._manager.close)
            self._opened = opened.pop_all()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()  # ends the threads of the reader

    def steps(self) -> list[int]:
        """Return the steps of all checkpoints, rising."""
        return sorted(self._manager.all_steps()) if self.directory.exists() else []

    def errors(self) -> dict[int, float | None]:
        """Read the validation error of each checkpoint, a fraction; None if it was not known at that step.

        A checkpoint whose record can't be read is left out.
        """
        found = {}
        for step in self.steps():
            with contextlib.suppress(Exception):  # a torn file; `restore` of this step reports it
                found[step] = self._record(step).top1_error
        return found

    def best(self) -> tuple[int, float] | None:
        """Return (step, error) of the lowest validation error; None if no checkpoint has one.

        Raises:
          UserError: a record can't be read, so that the best one is not known.
        """
        errors: dict[int, float | None] = {}
        for _ in range(_LOOKS):
            steps = self.steps()
            for step in steps:
                if step not in errors and (found := self._record_if_kept(step)) is not None:
                    errors[step] = found.top1_error
            best = lowest({step: errors[step] for step in steps if step in errors})
            if best is not None and all(step in errors for step in steps):
                break
            # A running training may have replaced the best checkpoint between two reads.
            self._look_again()
            if self.steps() == steps:
                break
        return best

    def plateau(self) -> Plateau:
        """Read the state of the schedule at the last checkpoint whose record can be read."""
        for step in reversed(self.steps()):
            with contextlib.suppress(Exception):  # a torn file; `restore` of this step reports it
                return self._record(step).plateau
        return Plateau()

    def restore(self, step: int, **abstract: Any) -> tuple[Record, dict[str, Any]]:
        """Return the record and the named items of a checkpoint, after comparing their checksums.

        Args:
          step: one of `steps`.
          **abstract: shapes, types and shardings of the arrays of each item.

        Raises:
          UserError: the checkpoint has another format, or an item has other arrays.
          Exception: it is damaged; Orbax raises many kinds.
        """
        items = {
            name: ocp.args.PyTreeRestore(tree, ocp.checkpoint_utils.construct_restore_args(tree))
            for name, tree in abstract.items()
        }
        record, restored, problem = None, {}, None
        try:
            record = self._record(step)
            self._check(step, record, abstract)
            with _quiet():
                restored = self._read(step, **items)
        except Exception as error:
            problem = error
        shared = any(not x.sharding.is_fully_addressable for x in jax.tree.leaves(abstract))
        if (shared and not hosts.all_true(problem is None)) or record is None or problem is not None:
            raise problem or ValueError("another process can't read its part")
        for name in abstract:
            if by_path(checksums(restored[name])[0]) != record.sums[name]:
                raise ValueError(f"the checksums of its {name} differ")
        return record, restored

    def verify(self, step: int, record: Record, **abstract: Any) -> None:
        """Read this process's share of the arrays of a checkpoint, and compare it with what was written.

        The arrays are read as NumPy arrays, so that the devices do not notice.

        Args:
          step: one of `steps`.
          record: the record that was written.
          **abstract: shapes and types of the arrays of each item.

        Raises:
          Exception: the checkpoint is damaged.
        """
        if self._record(step) != record:
            raise ValueError("its record differs")
        for name, tree in abstract.items():
            arrays = by_path(tree)
            by_size = sorted(arrays, key=lambda path: arrays[path].size, reverse=True)
            mine = set(by_size[jax.process_index() :: jax.process_count()])
            if not mine:
                continue
            leaves, structure = jax.tree.flatten(tree)
            share = [x if path in mine else ocp.PLACEHOLDER for path, x in zip(arrays, leaves, strict=True)]
            as_numpy = [ocp.RestoreArgs(restore_type=np.ndarray)] * len(leaves)
            items = (jax.tree.unflatten(structure, each) for each in (share, as_numpy))
            read = by_path(self._read(step, **{name: ocp.args.PyTreeRestore(*items)})[name])
            if any(checksum(read[path]) != record.sums[name][path] for path in mine):
                raise ValueError(f"the checksums of its {name} differ")

    def restore_params(self, step: str | int, model: Net, mesh: Mesh) -> tuple[int, Params]:
        """Return (step, parameters) of one checkpoint, on any mesh.

        Args:
          step: ``last``, ``best`` (lowest validation error) or a number.
          model: network that the parameters belong to.
          mesh: devices to put them on.

        Raises:
          UserError: there is no checkpoint, none of that step, or no best one; or the checkpoint is damaged.
        """
        params = abstract_params(model)
        placed = jax.tree.map(
            lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
            params,
            shardings(mesh, param_specs(model.shapes)),
        )
        for look in range(_LOOKS):
            number = self._number(step)
            try:
                return number, self.restore(number, params=placed)[1]["params"]
            except UserError:
                raise
            except Exception as error:
                if device_errors.explain(error):  # the checkpoint is not to blame
                    raise
                self.refuse_failure(error)
                replaced = not (self.directory / str(number)).exists()  # by a running training
                if step in ("last", "best") and replaced and look < _LOOKS - 1:
                    self._look_again()
                    continue
                raise UserError(
                    f"checkpoint {number} in {self.directory} is damaged ({self.explain(error)}):"
                    " choose another checkpoint"
                ) from error
        raise AssertionError("unreachable")

    def explain(self, error: Exception) -> str:
        """Return the reason of the system, or the first line of an error's text, at most 120 characters."""
        if reason := files.failure(error):
            return reason
        lines = str(error).replace(f"{self.plain}/", "").strip().splitlines() or [type(error).__name__]
        return lines[0][:120]

    def refuse_failure(self, error: Exception) -> None:
        """Raise a `RunError` if the system, or the bucket, can't read a checkpoint that may be intact."""
        failed = files.failure(error) is not None
        if is_remote(self.directory) and not failed:
            from alexnet_jax.remote.bucket import is_outage

            failed = is_outage(error)
        if failed:
            raise RunError(f"{self.directory} can't be read ({self.explain(error)}): {RERUN}") from error

    def _read(self, step: int, **items: Any) -> dict[str, Any]:
        # If there were a pipe, Orbax would wait for it without end.
        if (path := files.irregular(self.directory / str(step))) is not None:
            name = os.path.relpath(path, self.directory)
            raise ValueError(f"{name} is not a regular file")
        return dict(self._manager.restore(step, args=ocp.args.Composite(**items)))

    def _record(self, step: int) -> Record:
        try:
            return Record.from_json(self._read(step, host=ocp.args.JsonRestore())["host"])
        except OtherFormat as formats:
            raise UserError(
                f"checkpoint {step} in {self.directory} has {formats}: use the version that wrote it, or"
                " train again in another --workdir"
            ) from None

    def _record_if_kept(self, step: int) -> Record | None:
        """Return the record of a checkpoint; None if a running training has deleted the checkpoint."""
        try:
            return self._record(step)
        except UserError:
            raise
        except Exception as error:
            self.refuse_failure(error)
            if not (self.directory / str(step)).exists():
                return None
            raise UserError(
                f"the best checkpoint in {self.directory} is not known, because checkpoint {step} is"
                f" damaged ({self.explain(error)}): take --step=last or a number"
            ) from error

    def _look_again(self) -> None:
        for _ in range(_LOOKS):
            with contextlib.suppress(*_GONE):
                self._manager.reload()
                break

    def _check(self, step: int, record: Record, abstract: Mapping[str, Any]) -> None:
        """Refuse a checkpoint that is intact, but of another network or another optimizer."""
        for name, tree in abstract.items():
            if differ := sorted(by_path(tree).keys() ^ record.sums[name].keys()):
                whose = {"params": "network", "opt_state": "optimizer"}[name]
                raise UserError(
                    f"checkpoint {step} in {self.directory} was written with another {whose} (only one of the"
                    f" two has {differ[0]!r:.100}): train with that {whose}, or from scratch in another"
                    " --workdir"
                )

    def _number(self, step: str | int) -> int:
        steps = self.steps()
        if not steps:
            raise UserError(f"there is no checkpoint in {self.directory}: run alexnet-jax train first")
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


def _refuse_pipes(directory: epath.Path) -> None:
    """Refuse a pipe or a device among the files that Orbax reads when its manager is opened.

    Raises:
      UserError: a checkpoint has one. The message names it.
    """
    if files.is_remote(directory) or not directory.is_dir():
        return
    for checkpoint in directory.iterdir():
        file = Path(checkpoint / "_CHECKPOINT_METADATA")
        if file.exists() and not file.is_file() and not file.is_dir():
            raise UserError(f"{file} is not a regular file: remove this checkpoint, {checkpoint.name}")


def manager(
    directory: epath.Path, processes: ocp.options.MultiprocessingOptions, **options: Any
) -> ocp.CheckpointManager:
    """Return Orbax's manager for the three items.

    Args:
      directory: directory of the checkpoints.
      processes: processes that take part.
      **options: further ``CheckpointManagerOptions``.
    """
    # Weights hardly compress. Compression would slow the steps down and save no space on the disk.
    arrays = partial(ocp.PyTreeCheckpointHandler, multiprocessing_options=processes, use_compression=False)
    verbosity = absl_logging.get_verbosity()
    absl_logging.set_verbosity(min(verbosity, absl_logging.ERROR))  # no warning about read-only managers
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


def lowest(errors: Mapping[int, float | None]) -> tuple[int, float] | None:
    """Return (step, error) of the lowest error, the last one of several equal ones; None if none is known."""
    known = [(step, error) for step, error in errors.items() if error is not None]
    return min(known, key=lambda item: (item[1], -item[0]), default=None)


def by_path(tree: Any) -> dict[str, Any]:
    """Return the leaves of a tree by their names, such as ``conv1/kernel``."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree.leaves_with_path(tree)
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the tracebacks of reads that were still running when the first one failed."""
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
