"""The log of a run on Weights & Biases, from the package ``wandb``, which is an extra.

Everything of W&B happens in a thread. So the run waits for neither a server nor a disk, and continues
whatever fails there.
"""

import contextlib
import queue
import re
import secrets
import threading
from collections.abc import Mapping
from importlib.util import find_spec
from types import TracebackType
from typing import Any

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from alexnet_jax import files
from alexnet_jax.config import saved
from alexnet_jax.errors import reason
from alexnet_jax.parallel import hosts

FILE = "wandb_id.txt"
"""The file in a workdir with the id of its run on W&B, so that a resumed run continues it there."""

_FIRST, _LAST = 30, 10  # seconds to reach the server, and to upload the rest at the end
_NOT_ALL = "the server does not answer in time (wandb sync uploads the rest)"
_MOST = 10_000  # records that wait for the thread; more are dropped


class WeightsAndBiases:
    """A run on W&B if ``config.wandb`` names a project. If there are several processes, the first one logs.

    If anything fails, one note says why.

    Args:
      workdir: directory of the run. W&B's own files are in ``./wandb``, or in the folder ``WANDB_DIR``. There
        are symbolic links among them, and a workdir with links is refused.
      config: config of the run, which W&B shows.
    """

    def __init__(self, workdir: epath.Path, config: ConfigDict) -> None:
        self._workdir, self._config = workdir, config
        self._on = config.wandb is not None and hosts.is_first()
        self._records: queue.Queue[dict[str, Any] | None] = queue.Queue(_MOST)
        self._thread: threading.Thread | None = None
        self._status = 0

    def __enter__(self) -> "WeightsAndBiases":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the run on W&B. What can't be uploaded in ten seconds stays in W&B's files."""
        if self._thread is None:
            return
        self._status = 0 if kind is None else getattr(error, "status", 1)
        with contextlib.suppress(queue.Full):
            self._records.put_nowait(None)
            self._thread.join(_LAST)
        if self._thread.is_alive():
            self._give_up(_NOT_ALL)

    def begin(self) -> None:
        """Begin the run on W&B, or continue it. Values may be added before that is done."""
        if self._on and not _is_installed():
            self._give_up("the package is missing: pip install -e '.[wandb]'")
        elif self._on:
            self._thread = threading.Thread(target=self._work, name="wandb", daemon=True)
            self._thread.start()

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Add a value to each of several curves, by their names."""
        self._put({"step": step, **values})

    def add_pictures(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """Add pictures by their names, uint8 of shape (height, width, 3)."""
        self._put({"step": step, **pictures})

    def _put(self, record: dict[str, Any]) -> None:
        if self._on:
            with contextlib.suppress(queue.Full):
                self._records.put_nowait(record)

    def _work(self) -> None:
        try:
            run = self._begin()
            while (record := self._records.get()) is not None:
                run.log({key: self._value(value) for key, value in record.items()})
            run.finish(self._status)
        except TimeoutError:
            self._give_up(_NOT_ALL)
        except Exception as error:  # whatever a package, a server and a disk can do
            self._give_up(reason(error))

    def _begin(self) -> Any:
        import wandb  # takes a second

        settings = wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            disable_code=True,
            init_timeout=_FIRST,
            finish_timeout=_LAST - 2,
            finish_timeout_raises=True,
        )
        # Without a key, `wandb.init` would ask for one on a terminal.
        if wandb.setup(settings).settings.mode == "online" and not wandb.login(prompt=False, verify=False):
            raise RuntimeError("there is no account: type wandb login, or set WANDB_MODE=offline")
        entity, _, project = self._config.wandb.rpartition("/")
        run = wandb.init(
            entity=entity or None,
            project=project,
            name=self._workdir.name,
            id=self._id(),
            resume="allow",
            config=saved.settings(self._config),
            allow_val_change=True,
            settings=settings,
        )
        run.define_metric("*", step_metric="step")  # W&B's own steps can't be repeated after a resume
        return run

    def _id(self) -> str:
        """Return the id in the workdir. If there is none, write a new one."""
        path = self._workdir / FILE
        with contextlib.suppress(FileNotFoundError, ValueError):
            found = files.read(path, 64).decode().strip()
            if re.fullmatch(r"[0-9a-z]{1,32}", found):
                return found
        new = secrets.token_hex(4)
        files.write(path, f"{new}\n".encode())
        return new

    @staticmethod
    def _value(value: Any) -> Any:
        import wandb

        return wandb.Image(value) if isinstance(value, np.ndarray) else value

    def _give_up(self, why: str) -> None:
        """Print why W&B receives nothing more, once."""
        if self._on:
            self._on = False
            hosts.say(f"note: Weights & Biases: {why}; the run continues without it")


def _is_installed() -> bool:
    """Return whether the package can be imported. W&B's folder ``./wandb`` is none, but has a spec."""
    found = find_spec("wandb")
    return found is not None and found.origin is not None
