"""Build the cache that training reads, or verify the one that exists."""

from collections.abc import Callable

from ml_collections import ConfigDict

from alexnet_jax.config.validate import validate
from alexnet_jax.data.build import build
from alexnet_jax.data.cache import Cache, load
from alexnet_jax.data.dataset import cache_path, check_source
from alexnet_jax.runtime import progress


def prepare(config: ConfigDict, force: bool = False, say: Callable[[str], None] = progress.say) -> Cache:
    """Build the cache of ``config.data``. If it exists, verify every byte of it instead.

    `train` and `evaluate` build a missing cache themselves. Call this function to build it beforehand. A
    build that was interrupted continues.

    Args:
      config: the config of a run, from `get_config`.
      force: whether to rebuild a cache that exists.
      say: function that takes a line of text about each step; prints it by default.

    Returns:
      The cache: ``cache.info`` describes the data, ``cache.images["train"][rows]`` are uint8 images of shape
      (rows, height, width, 3), ``cache.labels["train"]`` are the numbers of their classes.

    Raises:
      UserError: a setting is wrong, the source does not exist or has changed since the cache was built, the
        cache is damaged or can't be written, or more images are broken than ``config.data.max_broken``.
      RunError: a worker process was killed.
    """
    validate(config)
    path = cache_path(config.data)
    exists = path.exists() and not force
    if exists:
        say(f"verifying every byte of {path}")
    else:
        say(f"reading the list of images of {config.data.source}")
    build(path, config.data, say, force)
    cache = load(path, whole=exists)
    if exists:
        check_source(cache.info, config.data)
        say("nothing to prepare: the cache exists, and every checksum is right")
    return cache
