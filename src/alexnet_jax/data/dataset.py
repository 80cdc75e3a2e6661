"""Functions that find, build and open the cache of ``config.data``."""

import os
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import platformdirs
from ml_collections import ConfigDict

from alexnet_jax import files
from alexnet_jax.data import sources
from alexnet_jax.data.build import build
from alexnet_jax.data.cache import REBUILD, Cache, DataInfo, cache_name, load, load_info
from alexnet_jax.data.publish import fetch, published_info
from alexnet_jax.errors import UserError
from alexnet_jax.remote.paths import on_disk
from alexnet_jax.runtime import progress

_FEW_FILES = 100_000  # most files to compare with their cache at each opening: half a second


def cache_path(data: ConfigDict) -> Path:
    """Return the directory of the cache, whose name depends on every setting that changes the bytes."""
    try:
        folder = data.cache_dir or platformdirs.user_cache_dir("alexnet-jax")
    except RuntimeError as error:  # an old version returns ~/.cache/alexnet-jax, which can't be expanded
        raise UserError(
            f"user {os.getuid()} has no home folder for caches: set HOME, or --config.data.cache_dir=DIR"
        ) from error
    on_disk(folder, "the folder for caches", "each host keeps its own cache")
    path = Path(files.absolute(folder)) / cache_name(data)
    with files.creating("the cache", path):
        path.exists()  # raises an error if a name is too long
    return path


def open_cache(data: ConfigDict, say: Callable[[str], None], fingerprint: str | None = None) -> Cache:
    """Open the cache for ``config.data``. If it is missing, copy it from ``data.cache_from``, or build it.

    If several processes on a host need it, one copies or builds it and the others wait.

    Args:
      data: ``config.data``.
      say: function that takes a line for the user.
      fingerprint: the fingerprint that a published cache must have to be copied; None for any.

    Raises:
      UserError: the source does not exist, too many images are broken, the cache is damaged, or it can't be
        written; or see `publish.fetch`.
      RunError: a worker process was killed, or reading the published cache kept failing.
    """
    path = cache_path(data)
    if data.cache_from is None:
        build(path, data, say)
    elif not path.exists():
        fetch(path, data, say, fingerprint)
    cache = load(path)
    if sources.may_change(data.source) and sum(cache.info.splits.values()) <= _FEW_FILES:
        check_source(cache.info, data)
    return cache


class NoImages(UserError):
    """Report that the images of a workdir are not on this machine, or that a cache may hold other images."""


def open_cache_of(
    data: ConfigDict,
    info: DataInfo,
    given: Mapping[str, Any],
    say: Callable[[str], None],
    may_build: bool = True,
) -> Cache:
    """Open the cache for the data of a workdir, which may come from a stranger.

    So no path that only the workdir names is read or written. The cache is searched in the folder of caches
    that the user gives, or else in the default folder. In the default folder it must have the fingerprint of
    the workdir, unless the user gives a source. If the cache is missing, it is built from the source or
    copied from the published cache that the user gives.

    Args:
      data: ``config.data`` of the workdir.
      info: description of the data in the workdir.
      given: settings of ``config.data`` that the user gives: ``source``, ``cache_dir``, ``cache_from``,
        ``encoding``, ``columns``.
      say: function that takes a line for the user.
      may_build: whether to copy a missing cache from the given place, or build it from a given source.

    Raises:
      NoImages: there is no such cache. The message names the flags to give.
      UserError: see `open_cache`.
    """
    here = data.copy_and_resolve_references()
    here.cache_dir = here.cache_from = None
    here.update(given)
    path = cache_path(here)
    if "source" in given and (may_build or path.exists()):
        return open_cache(here, say)
    flags = [f"--config.data.source={shlex.quote(data.source)}"]
    if data.cache_dir is not None and "cache_dir" not in given:
        flags.insert(0, f"--config.data.cache_dir={shlex.quote(data.cache_dir)}")
    if here.cache_from is not None and may_build and not path.exists():
        fetch(path, here, say, info.fingerprint)
    if not path.exists():
        useful = flags if may_build else flags[:-1]
        add = f"; or, if you trust what the workdir names, add {' or '.join(useful)}" if useful else ""
        raise NoImages(f"{here.source} is not prepared in {path.parent}: run alexnet-jax prepare{add}")
    cache = load(path)
    if "cache_dir" not in given and cache.info.fingerprint != info.fingerprint:
        raise NoImages(
            f"{path} does not hold the images that the network was trained on: to use those that it holds,"
            f" add {' or '.join(flags)}"
        )
    return cache


def check_source(info: DataInfo, data: ConfigDict) -> None:
    """Check that a cache holds the current version of its source. Skip a source that can't be opened.

    Raises:
      UserError: the cache holds another version.
    """
    try:
        version = sources.open_source(data.source, data.validation, data.test, data.columns).version
    except UserError:
        return
    if version != info.version:
        raise UserError(
            f"{data.source} is now {version}, but the cache was built from {info.version}: {REBUILD}. A run"
            " that began with the old images can't resume with the new ones: to resume it, undo the change"
        )


def known_info(data: ConfigDict, say: Callable[[str], None] = progress.say) -> DataInfo | None:
    """Return the description of the data from the cache, or the published cache; None if there is neither.

    Raises:
      UserError: the cache is damaged; or see `publish.published_info`.
    """
    path = cache_path(data)
    info = load_info(path) if path.exists() else None
    return info if info or data.cache_from is None else published_info(data, say)


def class_count(data: ConfigDict, say: Callable[[str], None] = progress.say) -> int:
    """Return the number of classes, without building or copying the cache.

    Raises:
      UserError: the source does not exist, or see `known_info`.
    """
    source = known_info(data, say) or sources.open_source(
        data.source, data.validation, data.test, data.columns
    )
    return len(source.class_names)
