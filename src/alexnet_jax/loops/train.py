"""Training, from the config to the last checkpoint. Read it from top to bottom."""

import dataclasses
import os
import shlex
from contextlib import closing
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from alexnet_jax.data.augment import statistics
from alexnet_jax.data.loader import training_batches
from alexnet_jax.errors import Interrupted, RunError, UserError
from alexnet_jax.layers import BatchNorm
from alexnet_jax.loops.evaluate import error_rates, images_at_once
from alexnet_jax.parallel import hosts, watchdog
from alexnet_jax.parallel.axes import DATA, splits_units
from alexnet_jax.parallel.placement import on_devices
from alexnet_jax.parallel.signals import Signals
from alexnet_jax.runtime.device_errors import Shortage, explained, smaller_batch
from alexnet_jax.training import step as step_lib
from alexnet_jax.training import transfer
from alexnet_jax.training.checkpoint_writer import CheckpointWriter
from alexnet_jax.training.flops import flops_of
from alexnet_jax.training.hardest import Hardest
from alexnet_jax.training.log import Log
from alexnet_jax.training.meter import Meter
from alexnet_jax.training.pictures import pictures
from alexnet_jax.training.profiler import Profiler
from alexnet_jax.training.run import open_run
from alexnet_jax.training.schedule import Plateau
from alexnet_jax.training.scores import Result
from alexnet_jax.training.state import abstract_state, new_state
from alexnet_jax.training.tally import Tally
from alexnet_jax.training.watch import Watch
from alexnet_jax.training.weights_and_biases import WeightsAndBiases
from alexnet_jax.training.workdir import write_workdir


@dataclasses.dataclass(frozen=True)
class Trained:
    """A run that has reached its end.

    Attributes:
      workdir: the directory of the run, for `restore`, `evaluate` and the other commands.
      step: number of completed updates.
      result: the error rates at the last step, on the validation split, or on the test split for data without
        validation; None if the run had already reached its end before.
    """

    workdir: str
    step: int
    result: Result | None


def train(config: ConfigDict, workdir: str | os.PathLike[str]) -> Trained:
    """Train a network for as long as the config sets, or resume from the last checkpoint in the workdir.

    The run prints its log, and writes its checkpoints, its metrics and everything that `restore` needs into
    the workdir. A missing cache is built first. If a step, the loader or a writer stops, the process saves
    the run if it can, and ends with status 75.

    Args:
      config: the config of the run, from `get_config`; it is not changed.
      workdir: a local path or a bucket's; created if it does not exist.

    Returns:
      The number of updates and the last error rates.

    Raises:
      UserError: a setting is wrong, or the workdir holds another run. Nothing is overwritten.
      RunError: the loss or a parameter is not finite, a checkpoint is damaged, the workdir can't be written,
        or a device has too little memory. Earlier checkpoints stay.
      Interrupted: SIGTERM, SIGHUP, SIGUSR1 or Ctrl-C arrived, and the run has saved a checkpoint. The same
        call resumes it.
    """
    workdir, result = os.fspath(workdir), None

    with (
        open_run(config, workdir) as run,
        WeightsAndBiases(run.path, run.config) as board,
        Signals() as signals,
        CheckpointWriter(run.path, run.config.keep_checkpoints) as checkpoints,
    ):
        config, mesh, model, goodput = run.config, run.mesh, run.model, run.goodput
        for line in run.description.splitlines():
            hosts.say(line)

        # ---- Data -------------------------------------------------------------------------------
        cache, info, total_steps = run.cache, run.cache.info, run.total_steps
        classifier = config.net.layers[-1]
        if (classes := len(info.class_names)) < classifier.classes:
            hosts.say(
                f"note: {classifier.name} has {classifier.classes} outputs, but the data {classes} classes"
            )
        reading = config.data.color_noise_reading
        stats = on_devices(statistics(info.mean_image, info.color_covariance, reading), mesh)
        # Without a validation split the test split is used for the curve, and no choice depends on it.
        split = next(name for name in ("validation", "test", "train") if name in info.splits)

        # ---- Step -------------------------------------------------------------------------------
        update = goodput.compiling(step_lib.train_step(model, config, mesh, run.steps_per_epoch))
        predict = goodput.compiling(
            step_lib.log_probabilities(model, config.data, mesh, splits_units(config))
        )

        # ---- State: from the last checkpoint, or new --------------------------------------------
        restored = checkpoints.restore_last(abstract_state(model, config, mesh), hosts.say)
        if restored is not None:
            step, state, plateau, tally = restored
        else:
            begin = transfer.initial_params(model, config, info, mesh, run.path) if config.init_from else None
            with explained():  # if the state does not fit into the memory, a smaller batch does not help
                state = jax.block_until_ready(new_state(model, config, mesh, begin))
            step, plateau, tally = 0, Plateau(), Tally()
        if step > total_steps:
            raise UserError(
                f"{workdir} is at step {step}, but the config ends at step {total_steps}: raise"
                f" {_end(config)}, or take another --workdir"
            )
        ended = plateau.ended(config.schedule) or step == total_steps
        if hosts.is_first():
            write_workdir(run.path, run.config_at_end() if ended else config, info)
        if ended:
            end, later = "end", f"to train for longer, raise {_end(config)}"
            if step < total_steps:
                end, later = "last plateau", "to train for longer, change --config.schedule.*"
            hosts.say(f"{workdir} is trained to its {end}, step {step}; {later}")
            return Trained(workdir, step, None)
        if restored is not None:
            hosts.say(f"resuming at step {step} of {total_steps}")
        for line in run.changed:
            hosts.say(f"  changed: {line}")

        # ---- Loop -------------------------------------------------------------------------------
        hosts.say(f"{run.steps_per_epoch:,} steps in an epoch, {total_steps:,} in total; compiling the first")
        eval_every, checkpoint_every = run.interval("eval_every"), run.interval("checkpoint_every")
        flops = flops_of(config, mesh)
        log = Log(run.path, step, total_steps, run.steps_per_epoch, flops, board, run.check_lock)
        watch = Watch(classes, run.steps_per_epoch)
        meter = Meter(log, watch, config.batch_size, run.interval("log_every"), total_steps, tally)
        batches = goodput.batches(training_batches(cache, config, mesh, step, total_steps))
        watchdog.save_with(lambda: checkpoints.save_now(step, state, plateau, meter.fetch()), log.sync)
        stop = signals.stop_after(step)
        reductions = on_devices(np.int32(plateau.reductions), mesh)
        profiler = Profiler(config.profile, run.path, step)
        update = profiler.traced(update)
        smaller = partial(_with_less_memory, config, mesh, checkpoints)
        at_once = images_at_once(config)
        with explained(smaller), closing(log), closing(batches), closing(profiler):
            for images, labels in batches:
                evaluates = (step + 1) % eval_every == 0 or step + 1 == total_steps
                before = jax.tree.map(jnp.copy, state.params) if evaluates else None  # donated below
                state, metrics = update(state, images, labels, reductions, stats)
                step += 1
                goodput.dispatched(metrics)
                run.check_lock()
                meter.add(step, metrics)

                error = None
                if before is not None:
                    meter.fetch()  # a loss that is not finite ends the run here, before anything is saved
                    member = partial(predict, state.params, statistics=stats, views=1)
                    with goodput.during("evaluating"):
                        hardest = Hardest(config.log_images)
                        result = error_rates([member], cache, split, 1, at_once, mesh, hardest)
                        log.evaluation(step, result)
                        log.magnitudes(step, step_lib.mean_magnitudes(before, state.params))
                        log.pictures(step, pictures(model, state.params, cache, split, hardest))
                    error = result.top1_error if split == "validation" else None
                    if config.schedule.name == "plateau" and step % eval_every == 0:
                        plateau = plateau.after(result.top1_error, config.schedule)
                        reductions = on_devices(np.int32(plateau.reductions), mesh)

                if log.failure is not None:
                    signals.stop()
                stop = stop or signals.stop_after(step)
                ends = step == total_steps or plateau.ended(config.schedule) or stop
                best = checkpoints.best()
                is_best = error is not None and (best is None or error < best[1])
                if step % checkpoint_every == 0 or is_best or ends:
                    meter.fetch()
                    with goodput.during("saving"):
                        log.sync()
                        goodput.save()
                        checkpoints.save(step, state, plateau, error, meter.tally)
                meter.restart()
                if ends:
                    break
        checkpoints.wait()
        goodput.end()
        if log.failure is not None:
            raise RunError(
                f"{log.failure}; the run is saved at step {step} of {total_steps}: make it writable, or free"
                " some space, and run the same command again"
            )
        if stop and step < total_steps:
            raise Interrupted(stop, f"saved at step {step} of {total_steps}")

    command = ["alexnet-jax", "evaluate", f"--workdir={workdir}"]
    if split == "train":  # there is no other
        command.append("--split=train")
    if config.data.cache_dir is not None:
        command.append(f"--config.data.cache_dir={config.data.cache_dir}")
    hosts.say(f"done: {step} steps; evaluate with: {shlex.join(command)}")
    return Trained(workdir, step, result)


def _with_less_memory(config: ConfigDict, mesh: Mesh, checkpoints: CheckpointWriter, found: Shortage) -> str:
    """Return what to do if a step needs more memory than a device has."""
    data, parts = mesh.shape[DATA], config.accumulation_steps
    size = smaller_batch(config.batch_size, data * parts, found)
    if size == config.batch_size:
        return "use more devices, or devices with more memory"
    other = f"--config.batch_size={size} and another --workdir"
    on_each, at_once = config.batch_size // data, size // (data * parts)
    norms = [layer for layer in config.net.layers if isinstance(layer, BatchNorm)]
    for more in range(parts + 1, on_each + 1):
        images, remainder = divmod(on_each, more)
        split = any(images % layer.group_size(config.batch_size) for layer in norms)
        if not remainder and images <= at_once and not split:
            return (
                f"add --config.accumulation_steps={more}, which leaves the update the same, or try {other},"
                " or use more devices"
            )
    if checkpoints.steps():
        return (
            f"a run keeps its batch_size, {config.batch_size}, so resume it from its last checkpoint on more"
            f" devices, or train again with {other}"
        )
    return f"try {other}, or more devices"


def _end(config: ConfigDict) -> str:
    """Return the setting that ends the run."""
    return "--config.num_epochs" if config.num_steps is None else "--config.num_steps"
