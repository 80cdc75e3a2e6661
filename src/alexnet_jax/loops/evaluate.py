"""Evaluate one network, or an ensemble whose probabilities are averaged. Read it from top to bottom."""

import dataclasses
import math
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from alexnet_jax.data.cache import Cache
from alexnet_jax.data.dataset import open_cache_of
from alexnet_jax.data.loader import test_batches
from alexnet_jax.errors import RunError
from alexnet_jax.parallel import hosts, watchdog
from alexnet_jax.parallel.axes import DATA
from alexnet_jax.parallel.mesh import data_mesh
from alexnet_jax.parallel.together import together
from alexnet_jax.runtime import progress
from alexnet_jax.training.hardest import Hardest
from alexnet_jax.training.restored import Restored, check_alike, check_views, restore
from alexnet_jax.training.scores import Result, guesses, score

_COUNTED = ("loss", "top1_error", "top5_error")
_GUESSED = ("guess", "probability")
_MOST_ON_A_DEVICE = 1024  # images at a time: a run on many devices may be evaluated on one


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was evaluated.

    Attributes:
      workdir: its directory.
      step: number of completed updates.
    """

    workdir: str
    step: int


@dataclasses.dataclass(frozen=True)
class Evaluation(Result):
    """The error rates of a network or of an ensemble.

    Attributes:
      split: ``train``, ``validation`` or ``test``.
      views: number of crops of each image, 1 or 10.
      examples: number of images.
      loss: mean of minus the logarithm of the probability of the right class, in nats.
      top1_error: fraction of the images whose most probable class is wrong, from 0 to 1.
      top5_error: fraction of the images whose right class is not among the five most probable ones.
      checkpoints: the members of the ensemble.
    """

    checkpoints: tuple[Checkpoint, ...]

    def __str__(self) -> str:
        return (
            f"{self.split}: {self.examples} examples, {self.views} view(s),"
            f" {len(self.checkpoints)} network(s): loss {self.loss:.4f},"
            f" top-1 error {self.top1_error:.2%}, top-5 error {self.top5_error:.2%}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the record that ``alexnet-jax evaluate --json`` writes."""
        return dataclasses.asdict(self) | {"checkpoints": [vars(c) for c in self.checkpoints]}


def evaluate(
    nets: str | os.PathLike[str] | Restored | Sequence[str | os.PathLike[str] | Restored],
    split: str | None = None,
    views: int = 1,
    step: str | int = "last",
    data: Mapping[str, Any] | ConfigDict | None = None,
    say: Callable[[str], None] = hosts.say,
) -> Evaluation:
    """Measure the error rates of a network, or of an ensemble whose probabilities are averaged.

    Every image of the split counts exactly once. A workdir may come from a stranger, so no images are read
    from a place that only the workdir names.

    Args:
      nets: a workdir, a network from `restore`, or a sequence of these. Workdirs are restored on all devices;
        networks must lie on the same mesh.
      split: ``train``, ``validation`` or ``test``; by default test, or validation for data without test.
      views: 1 for the centre crop; 10 for the average over the corners, the centre and their mirror images.
      step: checkpoint of each workdir: ``last``, ``best`` (lowest validation error) or a number of updates.
      data: settings that locate the images: ``source`` (a missing cache is built from it), ``cache_dir``,
        ``cache_from`` (a missing cache is copied from there), ``encoding`` and ``columns``. A whole
        ``config.data`` is accepted too. By default the images are in the user's cache folder, and must
        be those that the first network was trained on.
      say: function that takes a line of text about each step; by default the first process prints it.

    Returns:
      The error rates, as fractions from 0 to 1, and the checkpoints that they belong to.

    Raises:
      UserError: a directory is no workdir or lacks the checkpoint; the data lacks the split, or its classes
        or its image size are not those of the networks; there is no cache of the images, and no source is
        given; or the processes differ.
      RunError: the loss is not finite.
      ValueError: ``views`` is neither 1 nor 10, there is no network, or the networks lie on different meshes.
    """
    check_views(views)
    several = [nets] if isinstance(nets, (str, os.PathLike, Restored)) else list(nets)
    if not several:
        raise ValueError("there is no network to evaluate")

    # ---- Networks -------------------------------------------------------------------------------
    given = [net.mesh for net in several if isinstance(net, Restored)]
    mesh = given[0] if given else data_mesh()
    if any(each != mesh for each in given):
        raise ValueError("the networks lie on different meshes: restore them with the same mesh")
    members = []
    for net in several:
        if not isinstance(net, Restored):
            say(progress.reading(net, step))
            net = restore(net, step, mesh)
        members.append(net)

    # ---- Data -----------------------------------------------------------------------------------
    first = members[0]
    cache = together(lambda: open_cache_of(first.config.data, first.data, dict(data or {}), say))
    check_alike(members, cache.info)
    split = cache.info.test_split(split)
    hosts.same(
        {"--workdir": [net.workdir for net in members], "--step": [net.step for net in members]}
        | {"--split": split, "--views": views}
        | {"the data's fingerprint": cache.info.fingerprint}
    )
    for net in members:
        if net.data.fingerprint not in ("", cache.info.fingerprint):
            say(f"note: this is not the data that {net.workdir} was trained on; its splits may overlap")

    # ---- One pass -------------------------------------------------------------------------------
    say(progress.evaluating(cache.info.splits[split], split, views))
    result = error_rates(
        [partial(net.log_probabilities, views=views) for net in members],
        cache, split, views, images_at_once(first.config), mesh,
    )  # fmt: skip
    return Evaluation(**vars(result), checkpoints=tuple(Checkpoint(n.workdir, n.step) for n in members))


def images_at_once(config: ConfigDict) -> int:
    """Return the number of images that are in memory at a time during the training of a run."""
    return int(config.batch_size // config.accumulation_steps)


def error_rates(
    members: Sequence[Callable[[jax.Array], jax.Array]],
    cache: Cache,
    split: str,
    views: int,
    batch_size: int,
    mesh: Mesh,
    hardest: Hardest | None = None,
) -> Result:
    """Count the errors of one network or of an ensemble in one pass over a split.

    Args:
      members: functions from uint8 images to log-probabilities, as `step.log_probabilities` returns.
      cache: the images.
      split: name of the split.
      views: number of crops that the members read, for the record.
      batch_size: number of images at a time, reduced to at most 1,024 on a device; the result does not depend
        on it.
      mesh: the devices that the members run on.
      hardest: collector of the hardest mistakes; None for none.

    Raises:
      RunError: the loss is not finite.
    """
    hardest = hardest or Hardest(0)
    left = cache.info.splits[split]
    batch_size = min(batch_size, _MOST_ON_A_DEVICE * mesh.shape[DATA], left)
    sums = np.zeros(4)  # examples, loss, top-1 and top-5 errors that this process counted
    batches = test_batches(cache, split, batch_size, mesh)
    compiling = f"{split}, compiling"  # until the first batch is done
    with progress.bar(total=left, unit="image", description=compiling, show=hosts.is_first()) as bar:
        for images, labels in batches:
            with watchdog.waiting_for(None if left == cache.info.splits[split] else "step"):
                log_probs = [member(images) for member in members]  # the first time, this compiles
            scores, names = score(log_probs, labels), list(_COUNTED)
            if hardest.most:
                scores |= guesses(log_probs)
                names += _GUESSED
            shards = [[s for s in scores[name].addressable_shards if s.replica_id == 0] for name in names]
            for each in zip(*shards, strict=True):
                start = each[0].index[0].start or 0
                real = max(0, left - start)  # the last batch is padded
                columns = [np.asarray(shard.data)[:real] for shard in each]
                sums += [len(columns[0]), *(column.sum(dtype=np.float64) for column in columns[:3])]
                if hardest.most:
                    loss, wrong, _, guess, probability = columns
                    rows = cache.info.splits[split] - left + start + np.arange(len(loss))
                    hardest.add(rows[wrong], loss[wrong], guess[wrong], probability[wrong])
            with watchdog.waiting_for(None):  # Ctrl-S stops a terminal
                bar.set_description_str(split, refresh=False)
                bar.update(min(left, len(labels)))
            left -= len(labels)
    counted, *totals = hosts.total(sums)
    if not math.isfinite(totals[0]):
        raise RunError(f"the loss on {split} is {totals[0]}, so the network has diverged")
    means = {name: float(total / counted) for name, total in zip(_COUNTED, totals, strict=True)}
    return Result(split, views, int(counted), **means)
