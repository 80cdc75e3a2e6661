"""From the cache to the devices, ahead of the step that needs it."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from alexnet_jax.cache import Cache
from alexnet_jax.mesh import DATA
from alexnet_jax.order import batch_rows

_THREADS = 2
_AHEAD = 4  # batches in memory, beside the one in use

X = TypeVar("X")
Y = TypeVar("Y")


def training_batches(
    cache: Cache, config: ConfigDict, mesh: Mesh, first_step: int, last_step: int
) -> Generator[tuple[jax.Array, jax.Array], None, None]:
    """Images (batch, height, width, 3), uint8, and labels (batch,) of each step, split over ``data``."""
    images, labels = cache.images["train"], cache.labels["train"]
    sharding = NamedSharding(mesh, P(DATA))

    def load(step: int) -> tuple[np.ndarray, np.ndarray]:
        rows = batch_rows(len(labels), config.batch_size, config.seed, step, config.data.reshuffle)
        return np.take(images, rows, axis=0), labels[rows]

    for batch in _ahead(load, range(first_step, last_step)):
        yield jax.make_array_from_process_local_data(sharding, batch)


def test_batches(
    cache: Cache, split: str, batch_size: int, mesh: Mesh
) -> Generator[tuple[jax.Array, jax.Array], None, None]:
    """As `training_batches`, every example of a split once and in order.

    The last batch is filled up with copies of the last example.
    """
    images, labels = cache.images[split], cache.labels[split]
    batch_size += -batch_size % mesh.shape[DATA]
    sharding = NamedSharding(mesh, P(DATA))

    def load(start: int) -> tuple[np.ndarray, np.ndarray]:
        rows = np.minimum(np.arange(start, start + batch_size), len(labels) - 1)
        return np.take(images, rows, axis=0), labels[rows]

    for batch in _ahead(load, range(0, len(labels), batch_size)):
        yield jax.make_array_from_process_local_data(sharding, batch)


def _ahead(load: Callable[[X], Y], items: Iterable[X]) -> Iterator[Y]:
    """``map(load, items)``, some calls ahead in threads, in order."""
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="loader") as threads:
        pending: deque[Future[Y]] = deque()
        try:
            for item in items:
                pending.append(threads.submit(load, item))
                if len(pending) > _AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
