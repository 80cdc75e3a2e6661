"""Training, from config to checkpoint, read top to bottom."""

import contextlib
import math
import os
from collections.abc import Iterator
from functools import partial

import numpy as np
from etils import epath
from jax.sharding import Mesh
from ml_collections import ConfigDict

from alexnet_jax.config import settings as settings_lib
from alexnet_jax.data import sources
from alexnet_jax.data.augment import statistics
from alexnet_jax.data.cache import DataInfo
from alexnet_jax.data.dataset import class_count, open_cache
from alexnet_jax.data.loader import training_batches
from alexnet_jax.errors import Interrupted, UserError
from alexnet_jax.files import absolute, locked
from alexnet_jax.layers import with_classes
from alexnet_jax.loops.evaluate import evaluate
from alexnet_jax.net.model import Net, build
from alexnet_jax.parallel import hosts
from alexnet_jax.parallel.layers_table import layers_table
from alexnet_jax.parallel.mesh import mesh_for, on_devices
from alexnet_jax.training import step as step_lib
from alexnet_jax.training import transfer
from alexnet_jax.training.checkpoint import Checkpoints
from alexnet_jax.training.log import Meter, Progress, Watch
from alexnet_jax.training.optimizer import Plateau
from alexnet_jax.training.workdir import read_workdir, write_workdir


def describe(config: ConfigDict) -> tuple[Mesh, Net]:
    """Tells the mesh and the layers of a run: the head of its log, and all of ``--dry_run``.

    Raises:
      UserError: a mesh that the devices, the batch or the towers don't fit.
    """
    settle(config)
    mesh, why = mesh_for(config)
    model = build(config)
    hosts.say(why)
    hosts.say(layers_table(model, config, mesh))
    return mesh, model


def settle(config: ConfigDict) -> None:
    """Sets what follows from where we are and from the data: full paths, and the number of classes."""
    data = config.data
    data.source = sources.identity(data.source)
    if config.init_from is not None:
        config.init_from = str(absolute(config.init_from))
    if data.cache_dir is not None:
        data.cache_dir = str(absolute(data.cache_dir))
    if not config.net.layers[-1].classes:
        config.net.layers = with_classes(config.net.layers, class_count(data))


def train(config: ConfigDict, workdir: str) -> None:
    """Trains to the config's end; goes on by itself from the last checkpoint in the workdir.

    Args:
      config: checked, as from `get_config`.
      workdir: any path that ``etils.epath`` takes; made if it is not there.

    Raises:
      UserError: what a user can put right, before anything in the workdir is overwritten.
      RunError: a number that is not finite; what was saved before stays.
      Interrupted: SIGTERM or Ctrl-C came, and the run has saved.
    """
    path = absolute(workdir)
    settle(config)
    hosts.same(settings_lib.settings(config) | {"data.cache_dir": None, "--workdir": str(path)})
    _check_workdir(path, config)

    # ---- Mesh and model -------------------------------------------------------------------------
    mesh, model = describe(config)

    # ---- Data -----------------------------------------------------------------------------------
    cache = open_cache(config.data, hosts.say)
    info = cache.info
    hosts.same({"the data's fingerprint": info.fingerprint})
    _check_data(path, config, info)
    classifier = config.net.layers[-1]
    if (classes := len(info.class_names)) < classifier.classes:
        hosts.say(f"note: {classifier.name} has {classifier.classes} outputs, and the data {classes} classes")
    stats = statistics(info.mean_image, info.color_covariance, config.data.color_noise_reading, mesh)
    steps_per_epoch = info.splits["train"] // config.batch_size
    total_steps = config.num_steps or max(1, round(config.num_epochs * steps_per_epoch))
    log_every, eval_every, checkpoint_every = (
        config[every] or max(1, round(config[f"{every}_epochs"] * steps_per_epoch))
        for every in ("log_every", "eval_every", "checkpoint_every")
    )
    # The test split only shows the curve where there is no validation split: nothing is chosen by it.
    split = next(name for name in ("validation", "test", "train") if name in info.splits)

    # ---- Step -----------------------------------------------------------------------------------
    update = step_lib.train_step(model, config, mesh, steps_per_epoch)
    predict = step_lib.log_probabilities(model, config.data, mesh, config.parallelism)

    with (
        _alone(path),
        hosts.Signals() as signals,
        Checkpoints(path, config.keep_checkpoints) as checkpoints,
    ):
        changed = _check_workdir(path, config)  # another run may have been here meanwhile
        _check_data(path, config, info)

        # ---- State: where a checkpoint is, or from the beginning -------------------------------
        restored = checkpoints.restore_last(step_lib.abstract_state(model, config, mesh), hosts.say)
        if restored is not None:
            step, state, plateau = restored
        else:
            begin = transfer.initial_params(model, config, info, mesh, path) if config.init_from else None
            state = step_lib.new_state(model, config, mesh, begin)
            step, plateau = 0, Plateau()
        if step > total_steps:
            raise UserError(
                f"{workdir} is at step {step}, past the end that is asked for, {total_steps}: take a later"
                f" {_end(config)}, or another --workdir"
            )
        ended = plateau.ended(config.schedule) or step == total_steps
        if hosts.is_first():
            write_workdir(path, _moved(path, config) if ended else config, info)
        if ended:
            end, later = "end", f"a later end goes on: {_end(config)}"
            if step < total_steps:
                end, later = "plateaus' end", "other --config.schedule.* go on"
            hosts.say(f"{workdir} is trained to its {end}, step {step}; {later}")
            return
        if restored is not None:
            hosts.say(f"going on at step {step} of {total_steps}")
        for line in changed:
            hosts.say(f"  changed: {line}")
        best = checkpoints.best()
        lowest = math.inf if best is None else best[1]

        # ---- Loop -------------------------------------------------------------------------------
        hosts.say(f"{steps_per_epoch:,} steps an epoch, {total_steps:,} in all; compiling the first")
        progress = Progress(path, step, total_steps, steps_per_epoch)
        watch = Watch(len(info.class_names), steps_per_epoch)
        meter = Meter(progress, watch, config.batch_size, log_every, total_steps)
        batches = training_batches(cache, config, mesh, step, total_steps)
        stop = signals.stop_after(step)
        reductions = on_devices(np.int32(plateau.reductions), mesh)
        with contextlib.closing(progress), contextlib.closing(batches):
            for images, labels in batches:
                state, metrics = update(state, images, labels, reductions, stats)
                step += 1
                meter.add(step, metrics)

                error = None
                if step % eval_every == 0 or step == total_steps:
                    meter.fetch()  # a loss that is no number ends the run here, before anything is saved
                    member = partial(predict, state.params, statistics=stats, views=1)
                    result = evaluate([member], cache, split, 1, config.batch_size, mesh)
                    progress.evaluation(step, result)
                    progress.magnitudes(step, step_lib.mean_magnitudes(state))
                    error = result.top1_error if split == "validation" else None
                    if config.schedule.name == "plateau" and step % eval_every == 0:
                        plateau = plateau.after(result.top1_error, config.schedule)
                        reductions = on_devices(np.int32(plateau.reductions), mesh)

                stop = stop or signals.stop_after(step)
                ends = step == total_steps or plateau.ended(config.schedule) or stop
                is_best = error is not None and error < lowest
                if step % checkpoint_every == 0 or is_best or ends:
                    meter.fetch()
                    checkpoints.save(step, state, plateau, error)
                    lowest = min(lowest, math.inf if error is None else error)
                meter.restart()
                if ends:
                    break

    if stop and step < total_steps:
        raise Interrupted(stop, f"saved at step {step} of {total_steps}")
    hosts.say(f"done: {step} steps; alexnet-jax evaluate --workdir={workdir}")


@contextlib.contextmanager
def _alone(path: epath.Path) -> Iterator[None]:
    """One run at a time in a workdir, of which the first process holds the lock; buckets have none."""
    busy = UserError(f"another process trains in {path}: take another --workdir, or wait for it")

    def complain() -> None:
        raise busy

    with contextlib.ExitStack() as held:
        free = True
        if "://" not in str(path) and hosts.is_first():
            path.mkdir(parents=True, exist_ok=True)
            try:
                held.enter_context(locked(path / "lock", complain))
            except UserError:
                free = False
        if not hosts.all_true(free):  # all alike
            raise busy
        yield


def _check_workdir(path: epath.Path, config: ConfigDict) -> list[str]:
    """What changed since the workdir's run, if there is one; refuses what would make it another run.

    All that can be said before the data is prepared, which may take hours.
    """
    if (path / "config.json").exists():
        return settings_lib.refuse_changes(read_workdir(path)[0], config, path)
    there = next(parent for parent in (path, *path.parents) if parent.exists())
    if "://" not in str(path) and not (there.is_dir() and os.access(there, os.W_OK)):
        raise UserError(f"the workdir {path} can't be written: {there} is no folder that can be written")
    if config.init_from is not None:
        transfer.check(config)
    return []


def _moved(path: epath.Path, config: ConfigDict) -> ConfigDict:
    """What a run was trained with that has ended, where it ends now, and where its data lies."""
    if not (path / "config.json").exists():
        return config
    trained, _ = read_workdir(path)
    trained.data.source, trained.data.cache_dir = config.data.source, config.data.cache_dir
    trained.num_epochs, trained.num_steps = config.num_epochs, config.num_steps
    return trained


def _check_data(path: epath.Path, config: ConfigDict, info: DataInfo) -> None:
    """The data is enough, fits the net, and is what the workdir's run began with."""
    if info.splits["train"] < config.batch_size:
        raise UserError(
            f"config.batch_size is {config.batch_size}, but training has only {info.splits['train']} images:"
            f" take --config.batch_size={2 ** (info.splits['train'].bit_length() - 1)} or less"
        )
    classes, outputs = len(info.class_names), config.net.layers[-1].classes
    if classes > outputs:
        raise UserError(
            f"{info.source} has {classes} classes, but {config.net.layers[-1].name} only {outputs}"
        )
    if config.schedule.name == "plateau" and "validation" not in info.splits:
        raise UserError(
            "config.schedule.name is plateau, which needs a validation split: set config.data.validation"
        )
    if (path / "config.json").exists():
        before = read_workdir(path)[1].fingerprint
        if before != info.fingerprint:
            raise UserError(
                f"{path} was trained on other data ({before}) than the cache holds ({info.fingerprint}):"
                " take another --workdir"
            )


def _end(config: ConfigDict) -> str:
    """The setting that ends the run."""
    return "--config.num_epochs" if config.num_steps is None else "--config.num_steps"
