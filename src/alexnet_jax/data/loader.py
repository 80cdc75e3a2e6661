"""The loader, which reads batches from the cache and puts them on the devices before a step needs them.

Each process loads only the examples that its own devices hold. The step and the mesh determine these
examples, so no process waits for the data of another.
"""

import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from alexnet_jax.data.buffers import Buffers
from alexnet_jax.data.cache import Cache
from alexnet_jax.data.sampler import batch_rows
from alexnet_jax.parallel import watchdog
from alexnet_jax.parallel.axes import DATA
from alexnet_jax.runtime.limits import cores

THREADS = min(8, cores())
# Bytes that one call loads. Small batches are loaded in groups, because each step evicts the interpreter from
# the processor's caches, and the same few lines then take several times as long.
_GROUP = 2**18

X = TypeVar("X")
Y = TypeVar("Y")
Index: TypeAlias = tuple[slice, ...] | None
Parts: TypeAlias = dict[tuple[int, int], tuple[np.ndarray, np.ndarray]]
"""Images and labels by their positions (start, stop) in the global batch."""


def training_batches(
    cache: Cache, config: ConfigDict, mesh: Mesh, first_step: int, last_step: int
) -> Generator[tuple[jax.Array, jax.Array], None, None]:
    """Yield the batch of each step, split over ``data``.

    Yields:
      Images, uint8 of shape (batch, height, width, 3), and labels of shape (batch,).
    """
    examples = len(cache.labels["train"])

    def rows(step: int) -> np.ndarray:
        return batch_rows(examples, config.batch_size, config.seed, step, config.data.reshuffle)

    return _batches(cache, "train", config.batch_size, mesh, rows, range(first_step, last_step), "batch")


def test_batches(
    cache: Cache, split: str, batch_size: int, mesh: Mesh
) -> Generator[tuple[jax.Array, jax.Array], None, None]:
    """Yield every example of a split once and in order, in batches as from `training_batches`.

    The last batch is filled with copies of the last example.
    """
    examples = len(cache.labels[split])
    batch_size += -batch_size % mesh.shape[DATA]

    def rows(start: int) -> np.ndarray:
        return np.minimum(np.arange(start, start + batch_size), examples - 1)

    return _batches(cache, split, batch_size, mesh, rows, range(0, examples, batch_size), "evaluation batch")


def _batches(
    cache: Cache,
    split: str,
    batch_size: int,
    mesh: Mesh,
    rows: Callable[[int], np.ndarray],
    numbers: range,
    what: watchdog.What,
) -> Generator[tuple[jax.Array, jax.Array], None, None]:
    images, labels = cache.images[split], cache.labels[split]
    sharding = NamedSharding(mesh, P(DATA))
    # Devices that hold different towers of the same examples have the same positions, which are loaded once.
    indices = sharding.addressable_devices_indices_map((batch_size,)).values()
    mine = {_positions(index, batch_size) for index in indices}

    buffers = Buffers((batch_size // mesh.shape[DATA], *images.shape[1:]))

    def load(group: range) -> list[Parts]:
        loaded = []
        for number in group:
            chosen, parts = rows(number), {}
            for a, b in sorted(mine):
                parts[a, b] = buffers.take(), labels[chosen[a:b]]
                images.read(chosen[a:b], parts[a, b][0])
            loaded.append(parts)
        return loaded

    def on_devices(parts: Parts) -> tuple[jax.Array, jax.Array]:
        def array(shape: tuple[int, ...], which: int) -> jax.Array:
            return jax.make_array_from_callback(
                shape, sharding, lambda index: parts[_positions(index, batch_size)][which]
            )

        return array((batch_size, *images.shape[1:]), 0), array((batch_size,), 1)

    at_once = max(1, _GROUP // (batch_size * math.prod(images.shape[1:])))
    groups = (numbers[i : i + at_once] for i in range(0, len(numbers), at_once))
    for loaded in ahead(load, groups, what):
        watchdog.waits_for("step")
        for batch in [on_devices(parts) for parts in loaded]:
            yield batch
            watchdog.waits_for("step")


def _positions(index: Index, batch_size: int) -> tuple[int, int]:
    assert index is not None
    start, stop, _ = index[0].indices(batch_size)
    return start, stop


def ahead(load: Callable[[X], Y], items: Iterable[X], what: watchdog.What) -> Iterator[Y]:
    """Yield ``map(load, items)`` in order, with some calls running ahead in threads."""

    def first() -> Y:
        watchdog.waits_for(what)
        return pending.popleft().result()

    with ThreadPoolExecutor(THREADS, thread_name_prefix="loader") as threads:
        pending: deque[Future[Y]] = deque()
        try:
            for item in items:
                pending.append(threads.submit(load, item))
                if len(pending) > THREADS:  # groups in memory, besides the one in use and the next one
                    yield first()
            while pending:
                yield first()
        finally:
            for future in pending:
                future.cancel()
