"""Long work that each process does on its own, such as copying the cache to its host."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

import jax
import numpy as np

from alexnet_jax.errors import RunError
from alexnet_jax.parallel import hosts, peers

T = TypeVar("T")

_EVERY = 2.0  # seconds between two exchanges


def together(work: Callable[[], T]) -> T:
    """Do work on every process, and return when all have done it.

    Some processes may take longer than others, but on CPUs a collective fails if a process reaches it 30 s
    after another. So every few seconds they exchange whether they are done.

    Args:
      work: function without collectives. If there are several processes, it runs in a thread.

    Raises:
      RunError: the work failed on another process, which reports why.
      Exception: the work failed on this process.
    """
    if jax.process_count() == 1:
        return work()
    thread = ThreadPoolExecutor(1, thread_name_prefix="together")
    future = thread.submit(work)
    try:
        while True:
            wait([future], timeout=_EVERY)
            done = future.done()
            failed = done and future.exception() is not None
            working, failures = hosts.total(np.array([not done, failed], np.float64))
            if failed:
                return future.result()
            if failures:
                peers.wait_for_loss()  # the process that failed ends all with its own line
                raise RunError("another process has failed: start all again")
            if not working:
                return future.result()
    finally:
        thread.shutdown(wait=False)  # Ctrl-C does not wait for the work
