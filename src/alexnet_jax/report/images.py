"""What a net does with images: the test, the mistakes, and figures 3 and 4, for a page or alone."""

import dataclasses

import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.config.overrides import of_elsewhere
from alexnet_jax.data.cache import Cache, NoTestSplit
from alexnet_jax.data.dataset import cache_path, open_cache
from alexnet_jax.errors import UserError
from alexnet_jax.loops import predict
from alexnet_jax.loops.predict import Prediction
from alexnet_jax.paper import figure3, figure4
from alexnet_jax.paper.figure4 import Neighbours
from alexnet_jax.report import mistakes
from alexnet_jax.report.asked import Asked
from alexnet_jax.report.mistakes import Mistakes
from alexnet_jax.runtime import progress
from alexnet_jax.training.restored import Restored
from alexnet_jax.training.workdir import read_workdir

MOST_IN_A_MATRIX = 30  # classes
_DARKEST = 45  # % of the colour in a cell: text stays legible on it
_PAIRS = 20  # of confused classes, where they are too many for a matrix
_GUESSED, _WITH_NEIGHBOURS = 8, 5  # images of figure 4, as in the paper


@dataclasses.dataclass(frozen=True, eq=False)
class Tested:
    """What the net does with images.

    Attributes:
      mistakes: on the split that is tested.
      hardest: of these, those whose right class is least probable.
      surest: of these, those whose wrong class is most probable.
      guesses: figure 4, left; empty where there are no images beside the training's.
      neighbours: figure 4, right; None there.
    """

    mistakes: Mistakes
    hardest: list[Prediction]
    surest: list[Prediction]
    guesses: list[Prediction]
    neighbours: Neighbours | None

    @property
    def matrix(self) -> list[list[tuple[int, float]]]:
        """(how many, how dark in %) of each cell of the confusion; empty where the classes are too many."""
        counts = self.mistakes.confusion
        if len(counts) > MOST_IN_A_MATRIX:
            return []
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        largest = np.max(shares - np.diag(np.diag(shares)), initial=0) or 1
        tints = np.round(_DARKEST * np.minimum(shares / largest, 1), 1)
        return [list(zip(*row, strict=True)) for row in zip(counts.tolist(), tints.tolist(), strict=True)]

    @property
    def pairs(self) -> list[tuple[int, int, int]]:
        """(right class, taken for, how often) of what is confused most, where there is no matrix."""
        return [] if self.matrix else self.mistakes.pairs(_PAIRS)


@dataclasses.dataclass(frozen=True, eq=False)
class Figure3:
    """The first kernels.

    Attributes:
      mosaics: an image of each tower's, values between 0 and 1.
      shares: of each tower, how much of its kernels' energy is colour: (of all, least, largest).
    """

    mosaics: list[np.ndarray]
    shares: list[tuple[float, float, float]]


class NoImages(UserError):
    """The data of a workdir is not prepared on this machine."""


def config_of(asked: Asked) -> ConfigDict:
    """The workdir's, with the place of its data here."""
    return of_elsewhere("report", read_workdir(asked.workdir)[0], list(asked.overrides))


def cache_of(asked: Asked, net: Restored, config: ConfigDict) -> Cache:
    """The cache of a net's data, if it is there; nothing is prepared.

    Raises:
      NoImages: it is not.
      UserError: it is damaged, or of other data.
    """
    path = cache_path(config.data)
    if not path.exists():
        raise NoImages(
            f"{config.data.source} is not prepared on this machine ({path} is not there): alexnet-jax prepare"
            " makes it, --config.data.cache_dir=DIR says where else it lies"
        )
    cache = open_cache(config.data, lambda line: None)
    if cache.info.class_names != net.data.class_names or cache.info.image_size != net.data.image_size:
        raise UserError(f"{asked.workdir} was trained on other data than {config.data.source} is here")
    return cache


def test(asked: Asked, net: Restored, cache: Cache) -> Tested:
    """One pass over a split, and figure 4.

    Raises:
      NoTestSplit: the data has none, and no other split is asked for.
      UserError: no such split.
      RunError: a loss that is not finite.
    """
    split = cache.info.test_split(asked.split)
    progress.note(progress.evaluating(cache.info.splits[split], split, asked.views))
    found = mistakes.find(net, cache, split, asked.views)
    try:
        guesses, near = guesses_and_neighbours(net, cache, asked.views)
    except NoTestSplit:
        guesses, near = [], None
    return Tested(
        found,
        predict.predict_examples(net, cache, split, found.hardest, asked.views),
        predict.predict_examples(net, cache, split, found.surest, asked.views),
        guesses,
        near,
    )


def guesses_and_neighbours(net: Restored, cache: Cache, views: int) -> tuple[list[Prediction], Neighbours]:
    """Return figure 4: eight random images with guesses, and five with their neighbours."""
    split, rows = figure4.choose(cache, _GUESSED)
    guesses = predict.predict_examples(net, cache, split, rows, views)
    wanted = rows[:_WITH_NEIGHBOURS]
    searched = min(cache.info.splits["train"], figure4.SEARCHED)
    progress.note(f"searching {searched:,} images of train for those nearest to {len(wanted)} of {split}")
    return guesses, figure4.nearest(net, cache, split, wanted)


def kernels(net: Restored) -> Figure3 | None:
    """Return figure 3, the kernels of the convolution that reads the image, if there is one."""
    try:
        found = figure3.first_kernels(net)
    except UserError:  # a net without such a layer
        return None
    mosaics = [figure3.mosaic(kernel) for kernel in found]
    shares = zip(*figure3.color_shares(found), strict=True)
    return Figure3(mosaics, [(float(share), float(each.min()), float(each.max())) for share, each in shares])
