"""Import the weights of another framework: write them as a workdir, at step 0. Read it from top to bottom."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from alexnet_jax.config.recipe import load
from alexnet_jax.config.validate import validate
from alexnet_jax.data import sources
from alexnet_jax.data.cache import DataInfo
from alexnet_jax.data.class_words import listed, of_ilsvrc_2012
from alexnet_jax.errors import UserError
from alexnet_jax.files import absolute
from alexnet_jax.layers import replaced
from alexnet_jax.net.model import build
from alexnet_jax.parallel.mesh import local_mesh
from alexnet_jax.runtime import progress
from alexnet_jax.training.checkpoint_writer import CheckpointWriter
from alexnet_jax.training.run import held
from alexnet_jax.training.schedule import Plateau
from alexnet_jax.training.state import new_state
from alexnet_jax.training.tally import Tally
from alexnet_jax.training.workdir import is_workdir, saved_steps, write_workdir
from alexnet_jax.weights import caffe, torchvision
from alexnet_jax.weights.foreign import Foreign

FRAMEWORKS: Mapping[str, Callable[[str, str | None], Foreign]] = {
    "torchvision": torchvision.read,
    "caffe": caffe.read,
}
"""The functions that read the files of a framework, given the paths of the weights and the mean image."""

_SPLITS = {"train": 1_281_167, "validation": 50_000}  # images of ILSVRC-2012


def import_weights(
    framework: str,
    weights: str,
    workdir: str | os.PathLike[str],
    mean: str | None = None,
    classes: str | None = None,
    say: Callable[[str], None] = progress.say,
) -> str:
    """Write a workdir with the weights of another framework and the preprocessing that belongs to them.

    The workdir is one that `train` could have written: it can be evaluated, restored and fine-tuned.

    Args:
      framework: one of `FRAMEWORKS`.
      weights: path of the file of the weights.
      workdir: directory to write, a local path or a bucket's; it must not hold a run.
      mean: path of the mean image of Caffe; by default ImageNet's mean of each channel.
      classes: path of a file with the name of a class on each line; by default ImageNet's 1,000 classes.
      say: function that takes a line of text about each step; prints it by default.

    Returns:
      What was imported, in words.

    Raises:
      UserError: a file can't be read, is damaged, or holds the weights of another network; the classes are
        not as many as the outputs; a package is missing; or the workdir holds a run or can't be written.
      RunError: the checkpoint can't be written.
    """
    path = absolute(workdir)
    _refuse_run(path, workdir)

    # ---- Weights --------------------------------------------------------------------------------
    say(f"reading {weights}")
    found = FRAMEWORKS[framework](weights, mean)
    names, words = _classes(classes, found.classes(), weights)
    config = _config(found.recipe, names)

    # ---- Preprocessing --------------------------------------------------------------------------
    for line in found.notes:
        say(f"note: {line}")
    height, width, _ = found.mean_image_HxWx3.shape
    info = DataInfo(
        source=config.data.source,
        version="unknown",
        fingerprint="",
        encoding=config.data.encoding,
        image_size=(height, width),
        class_names=names,
        class_words=words,
        splits=_SPLITS if _are_imagenets(names) else {"train": 1},
        color_covariance=np.zeros((3, 3)),
        mean_image=np.ascontiguousarray(found.mean_image_HxWx3, np.float32),
    )

    # ---- Parameters -----------------------------------------------------------------------------
    network, params = found.network, found.params(config)
    del found  # a quarter of a gigabyte
    count = sum(x.size for x in jax.tree.leaves(params))
    state = new_state(build(config), config, local_mesh(), params)
    del params

    # ---- Workdir --------------------------------------------------------------------------------
    say(f"writing {workdir}")
    with held(path):
        _refuse_run(path, workdir)  # another process may have written one meanwhile
        # Of an import that was killed, perhaps of other weights.
        (path / "checkpoints").rmtree(missing_ok=True)
        with CheckpointWriter(path, keep=1) as checkpoints:
            checkpoints.save_now(0, state, Plateau(), Tally())
        write_workdir(path, config, info)
    return f"{network}, {count:,} parameters, {len(names):,} classes"


def _refuse_run(path: epath.Path, workdir: str | os.PathLike[str]) -> None:
    if is_workdir(path) or any(saved_steps(path)):  # a killed import leaves checkpoint 0
        raise UserError(f"{workdir} holds a run: take another --workdir")


def _config(recipe: str, class_names: tuple[str, ...]) -> ConfigDict:
    """Return the config of a recipe for these classes."""
    config = load(recipe)
    config.net.layers = replaced(config.net.layers, config.net.layers[-1].name, classes=len(class_names))
    if not _are_imagenets(class_names):
        config.data.source = sources.identity(load("folder").data.source)
    validate(config)
    return config.copy_and_resolve_references()


def _are_imagenets(class_names: tuple[str, ...]) -> bool:
    return class_names == tuple(of_ilsvrc_2012())


def _classes(file: str | None, outputs: int, weights: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names and the words of the classes.

    Raises:
      UserError: the file can't be read, or has other than ``outputs`` classes; or there is no file, and the
        outputs are not those of ImageNet.
    """
    if file is None:
        known = of_ilsvrc_2012()
        if outputs != len(known):
            raise UserError(
                f"{weights} has {outputs:,} outputs, but ImageNet has {len(known):,} classes: add"
                " --classes=FILE, with the name of a class on each line"
            )
        return tuple(known), tuple(known.values())
    try:
        names, words = listed(Path(file))
    except ValueError as error:
        raise UserError(f"--classes={file} can't be read: {error}") from error
    if len(names) != outputs:
        raise UserError(f"{file} has {len(names):,} classes, but {weights} has {outputs:,} outputs")
    return names, words
