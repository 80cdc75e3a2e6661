"""Fine-tune a network on windows of the classes and of the background, before the SVMs are trained.

The result is a workdir like that of any run. The update and the checkpoints are those of training.
"""

import os
import zlib
from collections.abc import Callable, Sequence
from functools import partial

import jax
import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.config.base import base
from alexnet_jax.config.validate import validate
from alexnet_jax.data.augment import statistics
from alexnet_jax.data.cache import DataInfo
from alexnet_jax.data.loader import ahead
from alexnet_jax.detection.boxes import overlaps
from alexnet_jax.detection.examples import Example
from alexnet_jax.detection.extractor import Extractor
from alexnet_jax.errors import Interrupted, UserError
from alexnet_jax.files import absolute
from alexnet_jax.layers import replaced
from alexnet_jax.net.draws import named_key
from alexnet_jax.net.model import build, init
from alexnet_jax.parallel.placement import on_devices
from alexnet_jax.parallel.signals import Signals
from alexnet_jax.training.checkpoint_writer import CheckpointWriter
from alexnet_jax.training.restored import Restored, restore
from alexnet_jax.training.schedule import Plateau
from alexnet_jax.training.state import abstract_state, new_state
from alexnet_jax.training.step import train_step
from alexnet_jax.training.tally import Tally
from alexnet_jax.training.workdir import is_workdir, read_workdir, write_workdir

POSITIVES, BACKGROUND = 32, 96
"""Windows of a batch that overlap an object, and other windows."""

_OVERLAP = 0.5  # least overlap of a window with the object whose class it gets
_LEARNING_RATE = 0.001  # a tenth of the paper's
_SAVE_EVERY, _LOG_EVERY = 100, 20  # steps


def finetune(
    network: Extractor,
    examples: Sequence[Example],
    class_names: Sequence[str],
    steps: int,
    workdir: str | os.PathLike[str],
    say: Callable[[str], None],
) -> Restored:
    """Train a network to distinguish the classes and the background, or resume, and return it.

    Args:
      network: the network to start from.
      examples: photographs, with their objects as windows.
      class_names: names of the classes, by label.
      steps: number of updates.
      workdir: where the run lies.
      say: function that takes a line for the user.

    Raises:
      UserError: the workdir holds another run, or one with more steps, or there are no windows of one of the
        two kinds.
      RunError: a checkpoint can't be written, or a parameter is not finite.
      Interrupted: a signal arrived, and the run has saved a checkpoint. The same call resumes it.
    """
    net, path, windows = network.net, absolute(workdir), _labelled(examples, len(class_names))
    config = _config(net.config, len(class_names) + 1, steps)
    info = _info(
        net.data, class_names, len(windows), f"{network.identity} {windows.tobytes()!r} {class_names}"
    )
    if is_workdir(path) and read_workdir(path)[1].fingerprint != info.fingerprint:
        raise UserError(f"{path} was fine-tuned on other windows: take another --out, or remove it")

    model = build(config)
    update = train_step(model, config, net.mesh, steps_per_epoch=1)
    stats = on_devices(statistics(info.mean_image, info.color_covariance, "standard_deviation"), net.mesh)
    with Signals() as signals, CheckpointWriter(path, keep=1) as checkpoints:
        restored = checkpoints.restore_last(abstract_state(model, config, net.mesh), say)
        if restored is None:
            name = config.net.layers[-1].name
            fresh = init(model, named_key(jax.random.key(config.seed), "init"))[name]
            step, state = 0, new_state(model, config, net.mesh, net.params | {name: fresh})
        else:
            step, state, *_ = restored
            if step > steps:
                raise UserError(
                    f"{path} is at step {step}, but --finetune_steps is {steps}: raise it, or take another"
                    " --out"
                )
            say(f"fine-tuning resumes at step {step} of {steps}")
        write_workdir(path, config, info)
        stop = signals.stop_after(step)
        load = partial(_batch, examples, windows, len(class_names), network.fill)
        for images, labels in ahead(load, range(step, steps), "batch"):
            if stop:
                break
            batch = on_devices((images, labels), net.mesh)
            state, metrics = update(state, *batch, on_devices(np.int32(0), net.mesh), stats)
            step += 1
            stop = signals.stop_after(step)
            if step % _LOG_EVERY == 0:
                loss, error = (float(metrics[name]) for name in ("loss", "top1_error"))
                say(f"fine-tuning, step {step} of {steps}: loss {loss:.4f}, error {error:.1%}")
            if step % _SAVE_EVERY == 0 or step == steps or stop:
                checkpoints.save(step, state, Plateau(), None, Tally())
    if stop:  # at the last step, too, because SVMs are trained afterwards
        raise Interrupted(stop, f"saved at step {step} of {steps}")
    return restore(path, mesh=net.mesh)


def _config(net: ConfigDict, classes: int, steps: int) -> ConfigDict:
    """Return the config of the fine-tuning of a network with this config."""
    config = base()
    config.batch_size, config.num_steps, config.mesh = POSITIVES + BACKGROUND, steps, (1, 1)
    config.dtype, config.data, config.net = net.dtype, net.data, net.net
    config = config.copy_and_resolve_references()
    config.data.image_size, config.data.crop_scale, config.data.color_noise = net.data.crop_size, (), 0.0
    config.net.layers = replaced(net.net.layers, net.net.layers[-1].name, classes=classes)
    config.optimizer.learning_rate = config.optimizer.bias_learning_rate = _LEARNING_RATE
    config.schedule.name = "constant"
    validate(config)
    return config


def _info(data: DataInfo, class_names: Sequence[str], windows: int, identity: str) -> DataInfo:
    """Return the description of windows, for the workdir."""
    names = (*class_names, "background")
    fingerprint = f"windows {zlib.crc32(identity.encode()):08x}"
    fields = {
        "fingerprint": fingerprint,
        "class_names": names,
        "class_words": names,
        "splits": {"train": windows},
    }
    return DataInfo(**vars(data) | fields)


def _labelled(examples: Sequence[Example], classes: int) -> np.ndarray:
    """Return (number of the example, row, label) of each window, int32 of shape (windows, 3).

    The background has the label ``classes``. Windows that overlap a difficult object most are left out.

    Raises:
      UserError: there are no windows with objects, or none without.
    """
    found = []
    for number, each in enumerate(examples):
        photograph = each.photograph
        overlap_NxM = overlaps(each.boxes_Nx4, photograph.boxes_Nx4)
        labels_N = np.full(len(each.boxes_Nx4), classes)
        kept_N = np.ones(len(labels_N), bool)
        if len(photograph.labels_N):
            best_N, positive_N = overlap_NxM.argmax(axis=1), overlap_NxM.max(axis=1) >= _OVERLAP
            labels_N = np.where(positive_N, photograph.labels_N[best_N], classes)
            kept_N = ~(positive_N & photograph.difficult_N[best_N])
        rows = np.flatnonzero(kept_N)
        found.append(np.stack([np.full(len(rows), number), rows, labels_N[rows]], axis=1))
    windows = np.concatenate(found).astype(np.int32)
    background = windows[:, 2] == classes
    if background.all() or not background.any():
        what = "with" if background.all() else "without"
        raise UserError(f"there are no windows {what} objects to fine-tune on: add photographs")
    return windows


def _batch(
    examples: Sequence[Example], windows: np.ndarray, classes: int, fill_SxSx3: np.ndarray, step: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the windows and labels of a step, which depend on the step alone."""
    random = np.random.default_rng([0, step])
    background = windows[:, 2] == classes
    chosen = np.concatenate(
        [
            random.choice(windows[~background], POSITIVES),
            random.choice(windows[background], BACKGROUND),
        ]
    )
    images = np.zeros((len(chosen), *fill_SxSx3.shape), np.uint8)
    for number in np.unique(chosen[:, 0]):
        places = np.flatnonzero(chosen[:, 0] == number)
        images[places] = examples[number].windows(fill_SxSx3, chosen[places, 1])
    return images, chosen[:, 2]
