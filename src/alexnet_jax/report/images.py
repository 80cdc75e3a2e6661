"""Test a network on images for a report: its errors, its mistakes and figure 4."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from alexnet_jax.data.cache import Cache, NoTestSplit
from alexnet_jax.data.dataset import open_cache_of
from alexnet_jax.errors import UserError
from alexnet_jax.loops.predict import Prediction, predict_examples
from alexnet_jax.paper import figure4
from alexnet_jax.paper.figure4 import Figure4
from alexnet_jax.report import mistakes
from alexnet_jax.report.mistakes import Mistakes
from alexnet_jax.report.request import Request
from alexnet_jax.runtime import progress
from alexnet_jax.training.restored import Restored

MOST_IN_A_MATRIX = 30  # classes
_DARKEST = 45  # strongest colour of a cell in %, on which text stays legible
_PAIRS = 20  # most pairs of confused classes in the list that replaces a large matrix


@dataclasses.dataclass(frozen=True, eq=False)
class Tested:
    """The results of a network on images.

    Attributes:
      mistakes: mistakes on the tested split.
      hardest: predictions for the mistakes whose right class is least probable.
      surest: predictions for the mistakes whose wrong class is most probable.
      figure4: data of figure 4; None if the data has only training images.
    """

    mistakes: Mistakes
    hardest: list[Prediction]
    surest: list[Prediction]
    figure4: Figure4 | None

    @property
    def matrix(self) -> list[list[tuple[int, float]]]:
        """(count, tint in %) for each cell of the confusion matrix; empty if there are too many classes."""
        counts = self.mistakes.confusion
        if len(counts) > MOST_IN_A_MATRIX:
            return []
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        largest = np.max(shares - np.diag(np.diag(shares)), initial=0) or 1
        tints = np.round(_DARKEST * np.minimum(shares / largest, 1), 1)
        return [list(zip(*row, strict=True)) for row in zip(counts.tolist(), tints.tolist(), strict=True)]

    @property
    def pairs(self) -> list[tuple[int, int, int]]:
        """(right class, predicted class, count) of the most frequent confusions; empty if a matrix exists."""
        return [] if self.matrix else self.mistakes.pairs(_PAIRS)


def cache_of(request: Request, net: Restored, given: Mapping[str, Any]) -> Cache:
    """Open the cache of a network's data, without preparing it.

    Args:
      request: request for the report.
      net: restored network.
      given: settings of ``config.data`` that the user gives.

    Raises:
      NoImages: there is no such cache.
      UserError: the cache is damaged, or holds other data.
    """
    cache = open_cache_of(net.config.data, net.data, given, lambda line: None, may_build=False)
    if cache.info.class_names != net.data.class_names or cache.info.image_size != net.data.image_size:
        raise UserError(
            f"{request.workdir} was trained on other data: {cache.info.source} has other classes or sizes"
        )
    return cache


def test(request: Request, net: Restored, cache: Cache) -> Tested:
    """Test a network on a split, and gather figure 4.

    Args:
      request: request with the split and the number of views.
      net: restored network.
      cache: images of its data.

    Raises:
      NoTestSplit: the data has only training images, and the request names no split.
      UserError: the data has no such split.
      RunError: the loss is not finite.
    """
    split = cache.info.test_split(request.split)
    progress.note(progress.evaluating(cache.info.splits[split], split, request.views))
    found = mistakes.find(net, cache, split, request.views)
    try:
        drawn = figure4.gather(net, cache, request.views)
    except NoTestSplit:
        drawn = None
    return Tested(
        found,
        predict_examples(net, cache, split, found.hardest, request.views),
        predict_examples(net, cache, split, found.surest, request.views),
        drawn,
    )
