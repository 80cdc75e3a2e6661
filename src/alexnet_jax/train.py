"""Training, from config to checkpoint, read top to bottom."""

import signal
from types import FrameType, TracebackType
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from alexnet_jax import config as config_lib
from alexnet_jax import learning as learning_lib
from alexnet_jax import step as step_lib
from alexnet_jax.augment import statistics
from alexnet_jax.cache import DataInfo, open_cache
from alexnet_jax.checkpoint import Checkpoints
from alexnet_jax.errors import Interrupted, RunError, UserError
from alexnet_jax.evaluate import evaluate
from alexnet_jax.learning import Plateau
from alexnet_jax.loader import training_batches
from alexnet_jax.mesh import describe, make_mesh
from alexnet_jax.model import Net, Params, abstract_params, build
from alexnet_jax.progress import Meter, Progress, Watch
from alexnet_jax.workdir import absolute, read_workdir, restore, write_workdir


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
    changed = _check_config(path, config)

    # ---- Mesh -----------------------------------------------------------------------------------
    mesh = make_mesh(tuple(config.mesh), config.net.towers, config.batch_size)
    print(f"{describe(mesh)}: {config.batch_size // mesh.shape['data']} images and every tower on each")

    # ---- Data -----------------------------------------------------------------------------------
    cache = open_cache(config.data, print)
    info = cache.info
    _check_data(path, config, info)
    stats = statistics(info.mean_image, info.color_covariance, config.data.color_noise_reading, mesh)
    steps_per_epoch = info.splits["train"] // config.batch_size
    total_steps = config.num_steps or round(config.num_epochs * steps_per_epoch)
    log_every, eval_every, checkpoint_every = (
        config[every] or max(1, round(config[f"{every}_epochs"] * steps_per_epoch))
        for every in ("log_every", "eval_every", "checkpoint_every")
    )
    # The test split only shows the curve where there is no validation split: nothing is chosen by it.
    split = next(name for name in ("validation", "test", "train") if name in info.splits)

    # ---- Model and step -------------------------------------------------------------------------
    model = build(config)
    update = step_lib.train_step(model, config, mesh)
    predict = step_lib.log_probabilities(model, config.data, mesh)

    with Checkpoints(path, config.keep_checkpoints) as checkpoints, _Signals() as signals:
        # ---- State: where a checkpoint is, or from the beginning -------------------------------
        restored = checkpoints.restore_last(step_lib.abstract_state(model, config, mesh), print)
        if restored is not None:
            step, state, plateau = restored
            checkpoints.discard_after(step)
            print(f"going on at step {step} of {total_steps}", *changed, sep="\n  changed: ")
        else:
            state = step_lib.new_state(model, config, mesh, _initial_params(model, config))
            step, plateau = 0, Plateau()
        write_workdir(path, config, info)
        if step >= total_steps or plateau.ended:
            print(f"{workdir} is trained to its end, step {step}; a larger --config.num_epochs goes on")
            return
        best = checkpoints.best_error()

        # ---- Loop -------------------------------------------------------------------------------
        progress = Progress(path, step, total_steps, steps_per_epoch)
        meter = Meter(progress, Watch(len(info.class_names), steps_per_epoch), config.batch_size, log_every)
        knobs: Any = None
        knobs_on_device: Any = None
        batches = training_batches(cache, config, mesh, step, total_steps)
        for images, labels in batches:
            rates = learning_lib.rates(config.learning, state.params, step, steps_per_epoch, plateau)
            if knobs != (knobs := (rates, _color_noise(config, step, steps_per_epoch))):
                knobs_on_device = jax.device_put(jax.tree.map(np.float32, knobs), NamedSharding(mesh, P()))
            state, metrics = update(state, images, labels, *knobs_on_device, stats)
            step += 1
            meter.add(step, metrics, _largest(rates))

            error = None
            if step % eval_every == 0 or step == total_steps:
                meter.fetch()
                result = evaluate(
                    [lambda images: predict(state.params, images, stats, 1)],  # noqa: B023
                    cache, split, 1, config.batch_size, mesh,
                )  # fmt: skip
                progress.evaluation(step, result)
                progress.magnitudes(
                    step, jax.tree.map(float, jax.device_get(step_lib.mean_magnitudes(state)))
                )
                error = result.top1_error if split == "validation" else None
                if config.learning.schedule == "plateau" and step % eval_every == 0:
                    plateau = plateau.after(result.top1_error, config.learning)
                meter.restart()

            ends = step == total_steps or plateau.ended or signals.received
            is_best = error is not None and error < best
            if step % checkpoint_every == 0 or is_best or ends:
                meter.fetch()  # a loss that is no number ends the run here, before it is saved
                if not step_lib.all_finite(state):
                    raise RunError(f"the parameters are no longer finite at step {step}")
                checkpoints.save(step, state, plateau, error)
                best = min(best, error) if error is not None else best
            if ends:
                break
        batches.close()
        progress.close()

    if signals.received and step < total_steps:
        raise Interrupted(signals.received, f"saved at step {step} of {total_steps}")
    print(f"done: {step} steps; alexnet-jax evaluate --workdir={workdir}")


def _check_config(path: epath.Path, config: ConfigDict) -> list[str]:
    """What changed since the workdir's run, if there is one; refuses what would make it another run."""
    if not (path / "config.json").exists():
        return []
    return config_lib.refuse_changes(read_workdir(path)[0], config, path)


def _check_data(path: epath.Path, config: ConfigDict, info: DataInfo) -> None:
    """The data is enough, fits the net, and is what the workdir's run began with."""
    if info.splits["train"] < config.batch_size:
        raise UserError(
            f"config.batch_size is {config.batch_size}, but training has only {info.splits['train']} images"
        )
    classes, outputs = len(info.class_names), config.net.layers[-1].classes
    if classes > outputs:
        raise UserError(
            f"{info.source} has {classes} classes, but {config.net.layers[-1].name} only {outputs}"
        )
    if config.learning.schedule == "plateau" and "validation" not in info.splits:
        raise UserError(
            "config.learning.schedule is plateau, which needs a validation split: set config.data.validation"
        )
    if (path / "data.json").exists():
        before = read_workdir(path)[1].fingerprint
        if before != info.fingerprint:
            raise UserError(
                f"{path} was trained on other data ({before}) than the cache holds ({info.fingerprint}):"
                " take another --workdir"
            )


def _initial_params(model: Net, config: ConfigDict) -> Params | None:
    """Those of another workdir, where ``config.init_from`` names one."""
    if config.init_from is None:
        return None
    theirs = restore(config.init_from).params
    for name, arrays in abstract_params(model).items():
        for kind, array in arrays.items():
            found = theirs[name][kind].shape if name in theirs else "missing"
            if found != array.shape:
                raise UserError(
                    f"config.init_from = {config.init_from}: its {name} {kind} is {found}, here {array.shape}"
                )
    return {name: theirs[name] for name in abstract_params(model)}


def _color_noise(config: ConfigDict, step: int, steps_per_epoch: int) -> float:
    """The alphas' deviation in the update from ``step`` to ``step + 1``."""
    last = config.data.color_noise_epochs
    return config.data.color_noise if last is None or step < round(last * steps_per_epoch) else 0.0


def _largest(rates: dict[str, dict[str, float]]) -> float:
    """The kernels' learning rate, for the log; layers may have smaller ones of their own."""
    return max(kinds["kernel"] for kinds in rates.values())


class _Signals:
    """Notes SIGTERM and Ctrl-C, for the loop to act on; a second one ends the process at once."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "_Signals":
        for signum in (signal.SIGTERM, signal.SIGINT):
            self._before[signum] = signal.signal(signum, self._note)
        return self

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.received = signum
        signal.signal(signum, signal.SIG_DFL)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
