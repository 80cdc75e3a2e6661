"""A trace of some updates by JAX's profiler, for ``config.profile``."""

import secrets
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import jax
from etils import epath

from alexnet_jax import files
from alexnet_jax.config.checks import step_range
from alexnet_jax.errors import reason
from alexnet_jax.parallel import hosts

P = ParamSpec("P")
T = TypeVar("T")


class Profiler:
    """A trace of the updates to the steps FIRST to LAST, on the first process.

    The trace is kept in memory until the last update, or until the run ends before it. If it can't be made or
    written, one note says so, and the run continues.

    Args:
      wanted: ``config.profile``; None for no trace.
      workdir: directory that receives the trace, as ``plugins/profile/DATE/``.
      step: number of updates done.
    """

    def __init__(self, wanted: str | None, workdir: epath.Path, step: int) -> None:
        self._on = wanted is not None and hosts.is_first()
        self._first, self._last = step_range(wanted) if wanted is not None else (0, 0)
        self._workdir, self._step, self._began = workdir, step, 0  # 0: no trace has begun
        self._folder = Path(tempfile.gettempdir()) / f"alexnet-jax-{secrets.token_hex(8)}"
        if self._on and step >= self._last:
            self._give_up(f"the run is already at step {step}")

    def traced(self, update: Callable[P, T]) -> Callable[P, T]:
        """Return a function that traces those of its calls that are in the range."""

        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            self._step += 1
            if self._on and not self._began and self._step >= self._first:
                jax.block_until_ready(args)  # the updates before
                self._start()
            with jax.profiler.StepTraceAnnotation("update", step_num=self._step):
                result = update(*args, **kwargs)
            if self._on and self._step == self._last:
                jax.block_until_ready(result)
                self.close()
            return result

        return call if self._on else update

    def close(self) -> None:
        """End the trace, if there is one, and write it."""
        if not (self._on and self._began):
            return
        try:
            jax.profiler.stop_trace()
            found = [path.relative_to(self._folder) for path in self._folder.rglob("*") if path.is_file()]
            for path in found:
                (self._workdir / path.parent).mkdir(parents=True, exist_ok=True)
                files.write(self._workdir / path, (self._folder / path).read_bytes())
            hosts.say(f"profile of steps {self._began} to {self._step}: {self._workdir / found[0].parent}")
            self._on = False
        except Exception as error:  # whatever the profiler and a disk can do
            self._give_up(reason(error))
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self) -> None:
        try:
            jax.profiler.start_trace(self._folder)
            self._began = self._step
        except Exception as error:  # such as a trace that the caller has started
            self._give_up(reason(error))

    def _give_up(self, why: str) -> None:
        self._on = False
        hosts.say(f"note: there is no profile: {why}")
