"""Open a training run: check its settings and its data before anything is written, and lock its workdir."""

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator

from etils import epath
from jax.sharding import Mesh
from ml_collections import ConfigDict

from alexnet_jax import files
from alexnet_jax.config import saved
from alexnet_jax.config.validate import check_length, validate
from alexnet_jax.data import sources
from alexnet_jax.data.cache import Cache, DataInfo
from alexnet_jax.data.dataset import class_count, open_cache
from alexnet_jax.errors import RunError, UserError
from alexnet_jax.files import absolute, is_remote, locked
from alexnet_jax.layers import with_classes
from alexnet_jax.net.model import Net, build
from alexnet_jax.parallel import hosts, peers, watchdog
from alexnet_jax.parallel.mesh import mesh_for
from alexnet_jax.parallel.together import together
from alexnet_jax.remote.lease import RETRY, Lease
from alexnet_jax.training import transfer
from alexnet_jax.training.goodput import Goodput
from alexnet_jax.training.layers_table import layers_table
from alexnet_jax.training.schedule import total_steps
from alexnet_jax.training.workdir import is_workdir, read_workdir


@dataclasses.dataclass(frozen=True)
class Run:
    """A run whose workdir is locked by this process, or by the first of several.

    Attributes:
      path: the workdir.
      config: config of the run, from `settled`.
      mesh: the devices that it runs on.
      model: the network.
      description: text about the mesh and the network.
      before: config that the run had before; None for a new run.
      cache: open cache of the data.
      changed: settings that differ from ``before``, a line for each.
      check_lock: function to call before anything is written. It raises a `RunError` if another process has
        taken the lock, which can happen only in a bucket.
      goodput: measurement of what the run spends its time on, since the call of `open_run`.
    """

    path: epath.Path
    config: ConfigDict
    mesh: Mesh
    model: Net
    description: str
    before: ConfigDict | None
    cache: Cache
    changed: list[str]
    check_lock: Callable[[], None]
    goodput: Goodput

    @property
    def steps_per_epoch(self) -> int:
        """Updates in an epoch."""
        return self.cache.info.splits["train"] // self.config.batch_size

    @property
    def total_steps(self) -> int:
        """Updates in the whole run."""
        return total_steps(self.config, self.steps_per_epoch)

    def interval(self, name: str) -> int:
        """Return ``log_every``, ``eval_every`` or ``checkpoint_every`` in steps."""
        return self.config[name] or max(1, round(self.config[f"{name}_epochs"] * self.steps_per_epoch))

    def config_at_end(self) -> ConfigDict:
        """Return the config that a run at its end was trained with, with the new length and data paths."""
        if self.before is None:
            return self.config
        trained, data = self.before.copy_and_resolve_references(), self.config.data
        for key in ("source", "cache_dir", "cache_from"):
            trained.data[key] = data[key]
        trained.num_epochs, trained.num_steps = self.config.num_epochs, self.config.num_steps
        return trained


def settled(config: ConfigDict) -> ConfigDict:
    """Check a config, and return a copy with full paths and the number of classes.

    Raises:
      UserError: a setting is wrong, or the source of the data does not exist.
    """
    validate(config)
    config = config.copy_and_resolve_references()
    data = config.data
    data.source = sources.identity(data.source)
    if config.init_from is not None:
        config.init_from = str(absolute(config.init_from))
    if data.cache_dir is not None:
        data.cache_dir = str(absolute(data.cache_dir))
    if data.cache_from is not None:
        data.cache_from = str(absolute(data.cache_from))
    if not config.net.layers[-1].classes:
        config.net.layers = with_classes(config.net.layers, class_count(data, hosts.say))
    return config


def describe(config: ConfigDict) -> tuple[Mesh, Net, str]:
    """Return the mesh, the network, and a text about both.

    The text is the beginning of the log, and all that ``--dry_run`` prints.

    Args:
      config: config from `settled`.

    Raises:
      UserError: the mesh does not fit the devices, the batch or the towers.
    """
    mesh, why = mesh_for(config)
    model = build(config)
    return mesh, model, f"{why}\n{layers_table(model, config, mesh)}"


@contextlib.contextmanager
def open_run(config: ConfigDict, workdir: str | os.PathLike[str]) -> Iterator[Run]:
    """Check a run, prepare missing data, and lock the workdir until the end of the ``with`` block.

    A workdir that did not exist is removed again if the run is refused.

    Args:
      config: config of the run; it is not changed.
      workdir: any path that ``etils.epath`` takes; created if it does not exist.

    Raises:
      UserError: a setting is wrong; the mesh does not fit; the processes differ; another process trains in
        the workdir; the workdir holds a run with other settings or other data, or imported weights; or the
        data does not fit the config.
    """
    goodput = Goodput()
    path = absolute(workdir)
    config = together(lambda: settled(config))  # which may walk through a large source
    # This comes first, because later checks may fail in one process only.
    its_own = {"data.cache_dir": None, "data.cache_from": None}
    hosts.same(saved.settings(config) | its_own | {"--workdir": str(path)})
    mesh, model, description = describe(config)
    with held(path) as check_lock:
        goodput.open(path, check_lock)
        before, info_before, changed = None, None, []
        if is_workdir(path):
            before, info_before = read_workdir(path)
            if not info_before.fingerprint:
                raise UserError(
                    f"{path} holds imported weights: to train them, take another --workdir, and add"
                    f" --config.init_from={path}"
                )
            changed = saved.refuse_changes(before, config, path)
        elif config.init_from is not None:
            transfer.check(config, read_workdir(config.init_from)[0])
        fingerprint = None if info_before is None else info_before.fingerprint
        with goodput.during("preparing"):
            cache = together(lambda: open_cache(config.data, hosts.say, fingerprint))
        hosts.same({"the data's fingerprint": cache.info.fingerprint})
        _check_data(config, cache.info)
        if info_before is not None and info_before.fingerprint != cache.info.fingerprint:
            raise UserError(
                f"{path} was trained on other data ({info_before.fingerprint}) than the cache holds"
                f" ({cache.info.fingerprint}): take another --workdir"
            )
        run = Run(path, config, mesh, model, description, before, cache, changed, check_lock, goodput)
        check_length(config, run.total_steps, run.steps_per_epoch)
        with watchdog.watching(config.step_timeout_minutes, check_lock):
            yield run


@contextlib.contextmanager
def held(path: epath.Path) -> Iterator[Callable[[], None]]:
    """Hold the lock of a workdir, in process 0 for all processes. Yield `Run.check_lock`.

    A workdir that did not exist is created, and removed again if nothing is written into it.

    Raises:
      UserError: the workdir can't be written, or another process holds its lock.
    """
    if is_remote(path):
        with _held_in_bucket(path) as check_lock:
            yield check_lock
        return
    with files.creating("the workdir", path):
        nearest = next(parent for parent in (path, *path.parents) if parent.exists())
        if not (nearest.is_dir() and os.access(nearest, os.W_OK)):
            raise UserError(f"the workdir {path} can't be written: {nearest} is not a writable folder")
        files.check_inside(path)
    if (path / "lock").is_dir():
        raise UserError(f"{path / 'lock'} is a folder, but must be a file: remove it")

    def complain() -> None:
        raise _busy("another process", path)

    with contextlib.ExitStack() as entered:
        refusal, created = None, not path.exists()

        def remove_if_empty() -> None:
            if [file.name for file in path.iterdir()] == ["lock"]:
                (path / "lock").unlink()
                path.rmdir()

        if hosts.is_first():
            try:
                with files.creating("the workdir", path):
                    path.mkdir(parents=True, exist_ok=True)
                    entered.enter_context(locked(path / "lock", complain))
                    files.delete_unfinished(path)
            except UserError as error:
                refusal = error
        if not hosts.all_true(refusal is None):  # all processes refuse the run
            raise refusal or _busy("another process", path)
        if created and hosts.is_first():
            entered.enter_context(peers.cleaned(remove_if_empty))
        yield lambda: None


@contextlib.contextmanager
def _held_in_bucket(path: epath.Path) -> Iterator[Callable[[], None]]:
    """Do the same as `held` in a bucket.

    While process 0 asks for the lock, all processes exchange its answer every second, because on CPUs a
    collective fails after 30 s.
    """

    def complain(holder: str) -> None:
        raise _busy(holder, path)

    lease = Lease(path / "lock") if hosts.is_first() else None
    problem: Exception | None = None
    while True:
        try:
            done = lease is None or lease.take(complain, hosts.say)
        except (UserError, RunError) as error:
            done, problem = True, error
        if hosts.all_true(done):
            break
        time.sleep(RETRY)
    if not hosts.all_true(not isinstance(problem, RunError)):
        raise problem or RunError(f"process 0 can't lock {path}, because the bucket does not answer")
    if not hosts.all_true(problem is None):
        raise problem or _busy("another process", path)
    with peers.cleaned(lease.release) if lease else contextlib.nullcontext():
        yield lease.check if lease else lambda: None


def _busy(who: str, path: epath.Path) -> UserError:
    return UserError(f"{who} trains in {path}: take another --workdir, or wait for it")


def _check_data(config: ConfigDict, info: DataInfo) -> None:
    """Refuse data that is too small, or that has other classes or splits than the config needs."""
    examples = info.splits["train"]
    if examples < config.batch_size:
        raise UserError(
            f"config.batch_size is {config.batch_size}, but training has only {examples} images:"
            f" take --config.batch_size={2 ** (examples.bit_length() - 1)}, for example"
        )
    classes, classifier = len(info.class_names), config.net.layers[-1]
    if classes > classifier.classes:
        raise UserError(
            f"{info.source} has {classes} classes, but {classifier.name} has only {classifier.classes}"
            " outputs: set its classes to 0 in the recipe, which means as many as the data has"
        )
    if config.schedule.name == "plateau" and "validation" not in info.splits:
        raise UserError(
            "config.schedule.name is plateau, which needs a validation split: set config.data.validation"
        )
