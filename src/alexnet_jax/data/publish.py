"""Published caches: finished caches in a bucket or a shared folder, which each host copies to its own disk.

    <target>/<source>-<settings>/
        the files of the cache           see `cache`
        published.json                   the source, and the size and checksum of each file; written last
        copying.json                     only while the files are copied: the content of published.json

On a host, the copy is made in a directory beside the cache, which is renamed when the copy is complete. A
published cache may come from a stranger: it is data, and is checked like any cache.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypedDict

from etils import epath
from ml_collections import ConfigDict

from alexnet_jax import files, schema
from alexnet_jax.data import copies, sources
from alexnet_jax.data.build import beside, into_place
from alexnet_jax.data.cache import DataInfo, Manifest, cache_name, files_of, load, load_info
from alexnet_jax.errors import RunError, UserError

_INDEX, _MARK = "published.json", "copying.json"


class Published(TypedDict):
    """The content of ``published.json``."""

    source: str
    fingerprint: str
    files: Manifest


def check_target(target: str) -> None:
    """Check that a cache can be published, before it is built.

    Args:
      target: directory of published caches, in a bucket or a shared folder; created if it does not exist.

    Raises:
      UserError: the directory can't be created or written.
    """
    root = files.absolute(target)
    if files.is_remote(root):
        from alexnet_jax.remote.bucket import check_writable  # imports gcsfs, half a second

        check_writable(root)
        return
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--publish={target} can't be created ({files.explained(error)})") from error
    if not os.access(root, os.W_OK):
        raise UserError(f"--publish={target} can't be written: take a folder that you can write")


def check_origin(data: ConfigDict) -> None:
    """Check that ``data.cache_from`` can be read if it is in a bucket.

    Raises:
      UserError: it can't, or it is another URL.
    """
    root = files.absolute(data.cache_from)
    if files.is_remote(root):
        from alexnet_jax.remote.bucket import check_readable  # imports gcsfs, half a second

        check_readable(root)


def publish(cache: Path, data: ConfigDict, target: str, say: Callable[[str], None]) -> None:
    """Copy a finished cache to a directory from which other hosts copy it, unless it is there already.

    The others see the copy when it is complete. A second call continues one that was interrupted.

    Args:
      cache: directory of the cache.
      data: ``config.data``.
      target: directory of published caches, in a bucket or a shared folder.
      say: function that takes a line for the user.

    Raises:
      UserError: the cache is damaged; the target can't be written, has too little space, or has other files
        under the name of this cache.
      RunError: the target kept failing.
      Interrupted: Ctrl-C was received. The files copied so far are kept.
    """
    info, manifest = load_info(cache), files_of(cache)
    index = Published(source=sources.identity(data.source), fingerprint=info.fingerprint, files=manifest)
    place = files.absolute(target) / cache_name(data)

    def is_published() -> bool:
        before = _read_index(place, say)
        if before is not None and before["fingerprint"] != info.fingerprint:
            raise UserError(
                f"{place} holds other images ({before['fingerprint']}) than the cache"
                f" ({info.fingerprint}): remove it, or take another --publish"
            )
        if before is not None:
            say(f"nothing to publish: {place} has this cache already")
        return before is not None

    with _explained(f"the cache can't be published in {place}"):
        if is_published():
            return
        place.mkdir(parents=True, exist_ok=True)
        busy = f"another process is publishing in {place}: waiting for it"
        with _alone(place / "lock", busy, say) as check_lock:
            if is_published():  # meanwhile
                return
            say(f"publishing {cache} in {place}")
            try:
                _copy(epath.Path(cache), place, index, "take another --publish", say)
            except ValueError as error:
                raise UserError(
                    f"the cache {cache} is damaged ({files.explained(error)}), and was not published: rebuild"
                    " it with alexnet-jax prepare --force and the same flags"
                ) from error
            check_lock()
            copies.retried(lambda: files.write(place / _INDEX, _content(index)), _INDEX, say)
            (place / _MARK).unlink(missing_ok=True)
    say(f"published: other hosts copy it with --config.data.cache_from={target}")


def fetch(
    path: Path,
    data: ConfigDict,
    say: Callable[[str], None],
    fingerprint: str | None = None,
    force: bool = False,
) -> None:
    """Copy the published cache of ``config.data`` to ``path`` unless there is one.

    If several processes on a host need it, one copies it and the others wait. A second call continues one
    that was interrupted.

    Args:
      path: directory from `dataset.cache_path`.
      data: ``config.data``; ``data.cache_from`` is the directory of published caches.
      say: function that takes a line for the user.
      fingerprint: the fingerprint that the images must have; None for any.
      force: whether to replace a cache that exists.

    Raises:
      UserError: the cache is not published, has another fingerprint, is damaged (nothing of the copy is
        kept), or does not fit on the disk.
      RunError: reading it kept failing.
      Interrupted: Ctrl-C was received. The files copied so far are kept.
    """
    copying = beside(path, "copying")
    with _explained(f"the cache {path} can't be copied from {data.cache_from}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        busy = f"another process is copying or preparing {path}: waiting for it"
        with _alone(epath.Path(beside(path, "lock")), busy, say):
            if path.exists() and not force:
                return
            place, index = find(data, say)
            if fingerprint not in (None, index["fingerprint"]):
                raise UserError(
                    f"{place} holds other images ({index['fingerprint']}) than the run began with"
                    f" ({fingerprint}): take another --config.data.cache_from or another --workdir"
                )
            files.refuse_link(copying)
            files.check_inside(copying)
            copying.mkdir(exist_ok=True)
            say(f"copying {place} to {path}")
            try:
                _copy(place, epath.Path(copying), index, "take another --config.data.cache_dir", say)
                _check_copy(copying, index)
            except ValueError as error:
                shutil.rmtree(copying)
                raise _damaged(place, error) from error
            into_place(copying, path)
            shutil.rmtree(beside(path, "old"), ignore_errors=True)
            (path / _MARK).unlink(missing_ok=True)


def find(data: ConfigDict, say: Callable[[str], None]) -> tuple[epath.Path, Published]:
    """Return the directory of the published cache of ``config.data``, and its index.

    A folder of images may be missing here, or have another path than on the host that published its cache.
    Then the cache is found by the name of the folder and the settings.

    Args:
      data: ``config.data``; ``data.cache_from`` is the directory of published caches.
      say: function that takes a line for the user.

    Raises:
      UserError: there is none, several match, or its index is damaged. A damaged index in another
        directory is passed over if one matches.
      OSError: the directory can't be read.
    """
    root, found = files.absolute(data.cache_from), []
    damage: UserError | None = None
    if (index := _read_index(root / cache_name(data), say)) is not None:
        return root / cache_name(data), index
    for place in copies.retried(lambda: sorted(root.iterdir()) if root.exists() else [], str(root), say):
        if place.name.rpartition("-")[0] != cache_name(data).rpartition("-")[0]:
            continue  # of other data: reading each index in a bucket would take a request
        try:
            index = _read_index(place, say)
        except UserError as error:  # it may have other settings
            damage = error
            continue
        if index is None:
            continue
        alike = sources.short_name(index["source"]) == sources.short_name(data.source)
        if alike and place.name == cache_name(data, index["source"]):
            found.append((place, index))
    if len(found) > 1:
        choices = " or ".join(f"--config.data.source={index['source']}" for _, index in found)
        raise UserError(f"{root} has caches of several folders with this name: choose {choices}")
    if not found and damage is not None:
        raise damage
    if not found:
        check_origin(data)
        raise UserError(
            f"{root} has no cache of {data.source} with these settings: run alexnet-jax prepare"
            f" --publish={data.cache_from} with the same --config and --config.data.* flags on a host that"
            " has the images"
        )
    return found[0]


def published_info(data: ConfigDict, say: Callable[[str], None]) -> DataInfo:
    """Return the description of the published cache of ``config.data`` without copying the images.

    Raises:
      UserError: the cache is not published, is damaged, or can't be read.
      RunError: reading it kept failing.
    """
    with _explained(f"the published cache in {data.cache_from} can't be read"):
        place, index = find(data, say)
        checksums = {name: checksum for name, (_, checksum) in index["files"].items()}
        try:
            return copies.retried(lambda: DataInfo.load(place, checksums), str(place), say)
        except ValueError as error:
            raise _damaged(place, error) from error


def _copy(
    source: epath.Path, target: epath.Path, index: Published, advice: str, say: Callable[[str], None]
) -> None:
    """Copy the files. Delete those in the target first if they are the unfinished copy of another cache."""
    mark, content = target / _MARK, _content(index)
    there = [file for file in target.iterdir() if file.name != "lock"] if target.exists() else []
    if not mark.exists() or files.read(mark, schema.LARGEST) != content:
        if there and not mark.exists():
            raise UserError(
                f"{target} has files that are not of a published cache: remove them, or take another place"
            )
        for file in there:
            if file != mark:
                file.unlink()
        files.write(mark, content)
    copies.copy(source, target, index["files"], advice, say)


def _check_copy(copying: Path, index: Published) -> None:
    """Check that a complete copy can be opened. Correct checksums do not show that, if a stranger made them.

    Raises:
      ValueError: it can't.
    """
    try:
        fingerprint = load(copying).info.fingerprint
    except UserError as error:
        raise ValueError(str(error.__cause__)) from error
    if fingerprint != index["fingerprint"]:
        raise ValueError(f"{_INDEX} has another fingerprint")


def _content(index: Published) -> bytes:
    return (json.dumps(index, indent=0) + "\n").encode()


def _read_index(place: epath.Path, say: Callable[[str], None]) -> Published | None:
    """Return the index of a published cache; None if there is no such cache, or it is not complete."""
    try:
        return copies.retried(lambda: schema.read_json(place / _INDEX, Published), str(place), say)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise _damaged(place, error) from error


def _damaged(place: epath.Path, error: Exception) -> UserError:
    return UserError(
        f"the published cache {place} is damaged ({files.explained(error)}): remove it, and publish it again"
        f" with alexnet-jax prepare --publish={place.parent}"
    )


@contextlib.contextmanager
def _alone(lock: epath.Path, busy: str, say: Callable[[str], None]) -> Iterator[Callable[[], None]]:
    """Hold a lock. Yield a function that raises a `RunError` if another process has taken it."""
    if files.is_remote(lock):
        from alexnet_jax.remote.lease import held

        with held(lock, lambda holder: say(busy), say) as lease:
            yield lease.check
    else:
        with files.locked(lock, lambda: say(busy)):
            yield lambda: None


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn the errors of disks and buckets into one line."""
    try:
        yield
    except InterruptedError:
        raise
    except OSError as error:
        why = files.explained(error) or type(error).__name__
        if isinstance(error, PermissionError | FileNotFoundError) or error.errno in copies.FULL:
            raise UserError(f"{what} ({why})") from error
        raise RunError(
            f"{what} ({why}): what was copied is kept; run the same command again to continue"
        ) from error
