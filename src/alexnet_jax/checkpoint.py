"""Checkpoints through Orbax, in ``WORKDIR/checkpoints/STEP``.

Each holds the parameters as an item of their own, so that evaluation reads no more than it needs; the
velocity; and as JSON what the host remembers, the plateau schedule and the arrays' checksums.
(Orbax finds torn files by itself, but not a flipped bit among a kernel's numbers.)
"""

import contextlib
import dataclasses
import gc
import logging
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from etils import epath
from jax import lax
from jax.sharding import Mesh
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from alexnet_jax import learning as learning_lib
from alexnet_jax.errors import RunError, UserError
from alexnet_jax.learning import Plateau
from alexnet_jax.mesh import param_specs, shardings
from alexnet_jax.model import Net, Params, abstract_params
from alexnet_jax.step import TrainState

_BEST = "top1_error"  # on the validation split; the lower the better


class Checkpoints:
    """The checkpoints of a workdir: written in the background, the last few and the best kept."""

    def __init__(self, workdir: epath.Path, keep: int | None = None) -> None:
        """Opens them to write, keeping the last ``keep`` and the best; to read only, without it."""
        self.directory = workdir / "checkpoints"
        try:
            if keep:
                self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"the workdir {workdir} can't be written: {error.strerror or error}") from error
        policies = [
            LatestN(keep),
            BestN(get_metric_fn=_error, reverse=True, n=1, keep_checkpoints_without_metrics=False),
        ]
        self._manager = ocp.CheckpointManager(
            self.directory,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=AnyPreservationPolicy(policies) if keep else None,
                best_fn=_error,
                best_mode="min",
                cleanup_tmp_directories=keep is not None,
                create=keep is not None,
                read_only=keep is None,
            ),
            item_handlers={
                "params": ocp.StandardCheckpointHandler(),
                "velocity": ocp.StandardCheckpointHandler(),
                "host": ocp.JsonCheckpointHandler(),
            },
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._manager.close()  # waits for what is being written

    def steps(self) -> list[int]:
        """The steps that there are, rising."""
        return sorted(self._manager.all_steps())

    def best_error(self) -> float:
        """The lowest validation error of a checkpoint; infinite where there is none."""
        best = self._manager.best_step()
        return math.inf if best is None else self._manager.metrics(best)[_BEST]

    def save(self, step: int, state: TrainState, plateau: Plateau, error: float | None) -> None:
        """Begins to write a checkpoint; ``error`` is the validation error if it is known at this step."""
        self._manager.save(
            step,
            args=ocp.args.Composite(
                params=ocp.args.StandardSave(state.params),
                velocity=ocp.args.StandardSave(learning_lib.velocity(state.opt_state)),
                host=ocp.args.JsonSave(
                    {
                        "plateau": dataclasses.asdict(plateau),
                        "params": _checksums(state.params),
                        "velocity": _checksums(learning_lib.velocity(state.opt_state)),
                    }
                ),
            ),
            metrics=None if error is None else {_BEST: error},
            force=True,
        )

    def wait(self) -> None:
        """Until everything is on disk."""
        self._manager.wait_until_finished()

    def restore_last(
        self, state: TrainState, say: Callable[[str], None]
    ) -> tuple[int, TrainState, Plateau] | None:
        """(step, state, schedule) of the last whole checkpoint, or None where there is none.

        A damaged one is passed over, and said so.

        Args:
          state: of the right shapes and shardings; its values are replaced.
          say: takes a line for the user.

        Raises:
          RunError: there are checkpoints, but none is whole.
        """
        for step in reversed(self.steps()):
            v = learning_lib.velocity(state.opt_state)
            try:
                restored = self._restore(step, params=_abstract(state.params), velocity=_abstract(v))
                plateau = Plateau(**restored["host"]["plateau"])
            except Exception as error:  # whatever a torn file makes Orbax raise
                say(f"checkpoint {step} is damaged and passed over ({_first_line(error)})")
                continue
            number = jax.device_put(jnp.int32(step), state.step.sharding)
            opt_state = learning_lib.with_velocity(state.opt_state, restored["velocity"])
            return step, TrainState(number, restored["params"], opt_state), plateau
        if self.steps():
            raise RunError(f"no checkpoint in {self.directory} can be read")
        return None

    def discard_after(self, step: int) -> None:
        """Removes checkpoints later than ``step``: damaged ones that a resumed run passed over."""
        for later in self.steps():
            if later > step:
                self._manager.delete(later)

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
            shardings(mesh, param_specs(params)),
        )
        try:
            return number, self._restore(number, params=placed)["params"]
        except Exception as error:
            raise UserError(
                f"checkpoint {number} in {self.directory} is damaged ({_first_line(error)}):"
                " choose another --step"
            ) from error

    def _restore(self, step: int, **abstract: Params) -> dict[str, Any]:
        """The named items and ``host`` of a checkpoint, their checksums compared."""
        items = {name: ocp.args.StandardRestore(tree) for name, tree in abstract.items()}
        with _quiet():
            restored = self._manager.restore(
                step, args=ocp.args.Composite(host=ocp.args.JsonRestore(), **items)
            )
        for name in abstract:
            if _checksums(restored[name]) != restored["host"][name]:
                raise ValueError(f"the checksums of its {name} differ")
        return restored

    def _number(self, step: str | int) -> int:
        steps = self.steps()
        if not steps:
            raise UserError(f"there is no checkpoint in {self.directory}")
        if step == "last":
            return steps[-1]
        if step == "best":
            best = self._manager.best_step()
            if best is None:
                raise UserError(f"no checkpoint in {self.directory} has a validation error: take --step=last")
            return best
        try:
            number = int(step)
        except ValueError:
            raise UserError(f"--step is {step!r}, but must be last, best or a number") from None
        if number not in steps:
            raise UserError(
                f"no checkpoint {number} in {self.directory}; there are {', '.join(map(str, steps))}"
            )
        return number


def _error(metrics: dict[str, float]) -> float:
    return metrics[_BEST]


def _abstract(tree: Any) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)


@jax.jit
def _bit_sums(tree: Any) -> Any:
    """The sum of each array's bits, modulo 2^32: the same in any order, and so on any mesh."""
    return jax.tree.map(lambda x: jnp.sum(lax.bitcast_convert_type(x, jnp.uint32), dtype=jnp.uint32), tree)


def _checksums(tree: Any) -> Any:
    return jax.tree.map(int, jax.device_get(_bit_sums(tree)))


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
