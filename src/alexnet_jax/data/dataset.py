"""Functions that find, build and open the cache of ``config.data``."""

import hashlib
import json
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import platformdirs
from ml_collections import ConfigDict

from alexnet_jax import files
from alexnet_jax.data import sources
from alexnet_jax.data.build import build
from alexnet_jax.data.cache import FORMAT, REBUILD, Cache, DataInfo, load, read_info
from alexnet_jax.errors import UserError
from alexnet_jax.remote.paths import on_disk

_FEW_FILES = 100_000  # most files to compare with their cache at each opening: half a second


def cache_path(data: ConfigDict) -> Path:
    """Return the directory of the cache, whose name depends on every setting that changes the bytes."""
    folder = data.cache_dir or platformdirs.user_cache_dir("alexnet-jax")
    on_disk(folder, "the folder for caches", "each host keeps its own cache")
    root = Path(files.absolute(folder))
    source = sources.identity(data.source)
    settings = [FORMAT, source, data.encoding, data.image_size, data.validation, data.test]
    name = sources.short_name(data.source)[:50]  # names of files have at most 255 bytes
    short = "".join(c if c.isalnum() or c in "._" else "-" for c in name)
    return root / f"{short}-{hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:10]}"


def open_cache(data: ConfigDict, say: Callable[[str], None]) -> Cache:
    """Open the cache for ``config.data``, and build it first if it is missing.

    If several processes on a host need it, one builds it and the others wait.

    Args:
      data: ``config.data``.
      say: function that takes a line for the user.

    Raises:
      UserError: the source does not exist, too many images are broken, the cache is damaged, or it can't be
        written.
    """
    path = cache_path(data)
    if not path.exists():
        build(path, data, say)
    cache = load(path)
    if sources.may_change(data.source) and sum(cache.info.splits.values()) <= _FEW_FILES:
        check_source(cache.info, data)
    return cache


class NoImages(UserError):
    """The images of a workdir are not on this machine, or it is not certain which they are."""


def open_cache_of(
    data: ConfigDict,
    info: DataInfo,
    given: Mapping[str, Any],
    say: Callable[[str], None],
    may_build: bool = True,
) -> Cache:
    """Open the cache for the data of a workdir, which may come from a stranger.

    So nothing is read or written at a place that only the workdir names. The cache is in the folder that the
    user gives. It is built only from a source that the user gives. Without either, it is the cache in the
    default folder, if that has the same fingerprint.

    Args:
      data: ``config.data`` of the workdir.
      info: description of the data in the workdir.
      given: settings of ``config.data`` that the user gives: ``source``, ``cache_dir``, ``encoding``.
      say: function that takes a line for the user.
      may_build: whether to build a missing cache from a given source.

    Raises:
      NoImages: there is no such cache. The message names the flags to give.
      UserError: see `open_cache`.
    """
    here = data.copy_and_resolve_references()
    here.cache_dir = None
    here.update(given)
    path, flag = cache_path(here), f"--config.data.source={shlex.quote(data.source)}"
    if "source" in given and (may_build or path.exists()):
        return open_cache(here, say)
    if data.cache_dir is not None and "cache_dir" not in given:
        flag = f"--config.data.cache_dir={shlex.quote(data.cache_dir)} or {flag}"
    if not path.exists():
        raise NoImages(
            f"{here.source} is not prepared in {path.parent}: run alexnet-jax prepare, or add {flag}, which"
            " the workdir names, if you trust it"
        )
    cache = load(path)
    if "cache_dir" not in given and cache.info.fingerprint != info.fingerprint:
        raise NoImages(
            f"{path} does not hold the images that the network was trained on: to use other ones, add {flag}"
        )
    return cache


def check_source(info: DataInfo, data: ConfigDict) -> None:
    """Check that a cache holds the current version of its source. Skip a source that can't be opened.

    Raises:
      UserError: the cache holds another version.
    """
    try:
        version = sources.open_source(data.source, data.validation, data.test).version
    except UserError:
        return
    if version != info.version:
        raise UserError(
            f"{data.source} is now {version}, but the cache was built from {info.version}: {REBUILD}"
        )


def class_count(data: ConfigDict) -> int:
    """Return the number of classes, without building the cache.

    Raises:
      UserError: the source does not exist, or the cache is damaged.
    """
    info = read_info(cache_path(data))
    source = info or sources.open_source(data.source, data.validation, data.test)
    return len(source.class_names)
