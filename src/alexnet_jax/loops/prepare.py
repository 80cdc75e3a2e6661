"""Build the cache that training reads, or verify the one that exists."""

from collections.abc import Callable

from ml_collections import ConfigDict

from alexnet_jax.config.validate import validate
from alexnet_jax.data.build import build
from alexnet_jax.data.cache import Cache, load
from alexnet_jax.data.dataset import cache_path, check_source
from alexnet_jax.data.publish import check_target, fetch
from alexnet_jax.data.publish import publish as publish_cache
from alexnet_jax.runtime import progress


def prepare(
    config: ConfigDict,
    force: bool = False,
    say: Callable[[str], None] = progress.say,
    publish: str | None = None,
) -> Cache:
    """Build the cache of ``config.data``. If it exists, verify every byte of it instead.

    `train` and `evaluate` build a missing cache themselves. Call this function to build it beforehand. A
    build that was interrupted continues. With ``config.data.cache_from``, the cache is copied instead.

    Args:
      config: the config of a run, from `get_config`.
      force: whether to rebuild a cache that exists, or copy it again.
      say: function that takes a line of text about each step; prints it by default.
      publish: bucket or shared folder to which a complete cache is copied, for ``config.data.cache_from`` on
        other hosts. The cache is then built even if ``cache_from`` is set.

    Returns:
      The cache: ``cache.info`` describes the data, ``cache.images["train"][rows]`` are uint8 images of shape
      (rows, height, width, 3), ``cache.labels["train"]`` are the numbers of their classes.

    Raises:
      UserError: a setting is wrong, the source does not exist or has changed since the cache was built, the
        cache is damaged, can't be written or published, or more images are broken than
        ``config.data.max_broken``.
      RunError: a worker process was killed, or a bucket has failed for a while.
      Interrupted: Ctrl-C was received while files were copied. The same call continues.
    """
    validate(config)
    path = cache_path(config.data)
    exists = path.exists() and not force
    if publish is not None:
        check_target(publish)
    if config.data.cache_from is not None and publish is None:
        if not exists:
            fetch(path, config.data, say, force=force)
    else:
        if not exists:
            say(f"reading the list of images of {config.data.source}")
        build(path, config.data, say, force)  # or delete what a killed build has left beside the cache
    verify = exists and publish is None  # publishing reads every byte, too
    if verify:
        say(f"verifying every byte of {path}")
    cache = load(path, whole=verify)
    if exists:
        check_source(cache.info, config.data)
    if verify:
        say("nothing to prepare: the cache exists, and every checksum is right")
    if publish is not None:
        publish_cache(path, config.data, publish, say)
    return cache
