"""Google Cloud Storage for epath: gcsfs with one limit for all retries, and with errors of one line."""

import asyncio
import os
import random
import re
import sys
import time
from typing import Any
from urllib.parse import quote

# Otherwise gcsfs requests the layout of each bucket, which needs another permission.
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")

import aiohttp
import fsspec
import gcsfs.core
from etils import epath
from gcsfs.retry import HttpError, is_retriable

from alexnet_jax.errors import NOTE, BucketError, UserError, causes

LIMIT = 300.0
"""Seconds for which a failing request to a bucket is repeated."""

ABSENT = "0"
"""The version of an object that does not exist."""

_LONGEST_PAUSE = 20.0  # seconds between two attempts
_BETWEEN_NOTES = 60.0  # seconds


class _File(gcsfs.core.GCSFile):
    """A file whose buffer Python can collect after an error.

    A plain buffer can't be closed if a request was being sent from it, and Python would print that.
    """

    @property
    def buffer(self) -> Any:
        return self.__dict__["buffer"]

    @buffer.setter
    def buffer(self, new: Any) -> None:
        unclosable = gcsfs.core.UnclosableBytesIO
        if not isinstance(new, unclosable):  # then it is empty
            new = unclosable()
        self.__dict__["buffer"] = new


class FileSystem(gcsfs.core.GCSFileSystem):
    """The file system of ``gs://``. Other processes write to the same bucket, so no listing is remembered."""

    _next_note = 0.0

    def __init__(self, **options: Any) -> None:
        # Without a limit, a connection that was cut silently would be waited for without end.
        timeouts = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=60)
        if os.environ.get("STORAGE_EMULATOR_HOST"):
            options.setdefault("token", "anon")
        super().__init__(
            **options | {"use_listings_cache": False, "session_kwargs": {"timeout": timeouts}, "project": ""}
        )

    def _open(
        self, path: str, mode: str = "rb", block_size: int | None = None, consistency: str | None = None,
        **options: Any,
    ) -> Any:  # fmt: skip
        size, consistency = block_size or self.default_block_size, consistency or self.consistency
        return _File(self, path, mode, size, consistency=consistency, **options)

    async def _request(self, method: str, path: str, *args: Any, **options: Any) -> Any:
        once = gcsfs.core.GCSFileSystem._request.__wrapped__  # without its own retries
        began, pause = time.monotonic(), 1.0
        while True:
            try:
                return await once(self, method, path, *args, **options)
            except (FileNotFoundError, FileExistsError):
                raise
            except Exception as error:
                where, why = (
                    _bucket_of(path, args),
                    " ".join(str(error).split())[:200] or type(error).__name__,
                )
                if not (is_retriable(error) or isinstance(error, TimeoutError | ConnectionError)):
                    raise BucketError(_refusal(where, error, why)) from error
                waited = time.monotonic() - began
                if waited >= LIMIT:
                    raise BucketError(f"{where} has not answered for {waited:.0f} seconds ({why})") from error
                if time.monotonic() >= FileSystem._next_note:  # other requests may fail at the same time
                    FileSystem._next_note = time.monotonic() + _BETWEEN_NOTES
                    line = f"{NOTE}{where} does not answer ({why}): trying again for {LIMIT:.0f} seconds"
                    print(line, file=sys.stderr, flush=True)
            await asyncio.sleep(min(pause * random.uniform(0.8, 1.2), max(0.1, LIMIT - waited)))
            pause = min(2 * pause, _LONGEST_PAUSE)


def check_writable(path: epath.Path) -> None:
    """Check that the bucket of a path exists, and that objects below the path can be written and deleted.

    Raises:
      UserError: they can't.
    """
    probe = path / f".{random.SystemRandom().getrandbits(64):x}.writable"
    try:
        probe.write_bytes(b"")
        probe.unlink()
    except FileNotFoundError as error:
        raise UserError(f"{path} can't be written: {_missing(path)}. Create it first") from error
    except OSError as error:
        raise UserError(f"{path} can't be written: {error}") from error


def check_readable(path: epath.Path) -> None:
    """Check that the bucket of a path exists, and that its objects can be listed.

    Raises:
      UserError: they can't.
    """
    bucket, _, prefix = os.fspath(path).removeprefix("gs://").partition("/")
    try:
        found = fsspec.filesystem("gcs")
        found.call("GET", "b/{}/o", bucket, prefix=prefix, maxResults=1, json_out=True)
    except FileNotFoundError as error:
        raise UserError(f"{path} can't be read: {_missing(path)}. Check its name") from error
    except OSError as error:
        raise UserError(f"{path} can't be read: {error}") from error


def sizes(directory: epath.Path) -> dict[str, int]:
    """Return the sizes of the objects in a directory, by their names, from one listing."""
    try:
        found = fsspec.filesystem("gcs").ls(os.fspath(directory), detail=True)
    except FileNotFoundError:
        return {}
    return {each["name"].rpartition("/")[2]: each["size"] for each in found}


def generation(path: epath.Path) -> str:
    """Return the number of the current version of an object; 0 if it does not exist."""
    bucket, _, name = os.fspath(path).removeprefix("gs://").partition("/")
    try:
        answer = fsspec.filesystem("gcs").call("GET", "b/{}/o/{}", bucket, name, json_out=True)
    except FileNotFoundError:
        return ABSENT
    return str(answer["generation"])


def replace(path: epath.Path, content: bytes, expected: str) -> str | None:
    """Write an object, unless another process has written it since.

    Args:
      path: path of the object.
      content: its new content.
      expected: its version, from `generation`.

    Returns:
      The new version; None if it has another version than expected, and nothing was written.
    """
    bucket, _, name = os.fspath(path).removeprefix("gs://").partition("/")
    found = fsspec.filesystem("gcs")
    where = f"{found._location}/upload/storage/v1/b/{quote(bucket)}/o"
    condition = {"uploadType": "media", "name": name, "ifGenerationMatch": expected}
    try:
        body = gcsfs.core.UnclosableBytesIO(content)  # aiohttp warns of large bytes
        answer = found.call("POST", where, data=body, json_out=True, **condition)
    except FileExistsError:
        return None
    return str(answer["generation"])


def is_outage(error: BaseException | None) -> bool:
    """Return whether an error, or one that caused it, means that a bucket did not answer."""
    return any(
        isinstance(each, BucketError) or "retry attempts failed" in str(each)  # of TensorStore
        for each in causes(error)
    )


def _missing(path: epath.Path) -> str:
    return f"there is no bucket gs://{os.fspath(path).split('/')[2]}"


def _refusal(where: str, error: Exception, why: str) -> str:
    code = error.code if isinstance(error, HttpError) else None
    if str(code) == "401":
        return (
            f"{where} needs credentials ({why}): run gcloud auth application-default login, or use a machine"
            " whose service account may use the bucket"
        )
    if str(code) == "403" or why.startswith("Forbidden"):
        return (
            f"{where} refuses access ({why}): give the account the role roles/storage.objectUser, or"
            " roles/storage.objectViewer if it only reads"
        )
    return f"{where}: {why}"


def _bucket_of(path: str, args: tuple[Any, ...]) -> str:
    found = re.search(r"/b/([^/{}]+)", path)
    return f"gs://{found[1] if found else args[0] if args else ''}"
