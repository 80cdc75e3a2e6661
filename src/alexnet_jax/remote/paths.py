"""Which paths are accepted: those on a disk, and gs://BUCKET/DIR. Nothing here imports a slow module."""

import importlib.util
import os
import re

from alexnet_jax.errors import UserError

BUCKET = "gs://"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
# `pathlib.Path` makes one slash of two.
_SHORTENED = re.compile(r"(gs|s3|az|hf|https?|file|hdfs|abfss?|wasbs?):/(?!/)")
_IN_BUCKET = re.compile(r"gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/+[^/*?\[\]\\#\r\n]+)+/*")


def scheme(path: str | os.PathLike[str]) -> str | None:
    """Return the scheme of a URL, such as ``gs``; None for a path on a disk."""
    text = os.fspath(path)
    found = _SCHEME.match(text) or _SHORTENED.match(text)
    return found[1] if found else None


def in_bucket(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is in a bucket rather than on a disk. If so, set up the libraries for buckets.

    Raises:
      UserError: it is another URL, it names no object, or the packages for buckets are missing.
    """
    text, kind = os.fspath(path), scheme(path)
    if kind is None:
        return False
    if kind != "gs":
        raise UserError(
            f"{text}: of the URLs only gs://BUCKET/DIR is supported. Use such a path, or one on a disk"
        )
    if not text.startswith(BUCKET):
        raise UserError(f"{text}: pathlib.Path removes a slash from a URL. Pass it as text, gs://BUCKET/DIR")
    if not _IN_BUCKET.fullmatch(text) or {".", ".."} & set(text.split("/")):
        raise UserError(
            f"{text!r} must be gs://BUCKET/DIR, without . or .. as a name and without * ? [ ] \\ # in it"
        )
    if importlib.util.find_spec("gcsfs") is None:
        raise UserError(f"{text} needs packages that are not installed: pip install -e '.[gcs]'")
    _prepare()
    return True


def on_disk(path: str | os.PathLike[str], what: str, instead: str) -> None:
    """Check that a path is not a URL.

    Args:
      path: the path.
      what: what it is, for the message.
      instead: what to do if the user has it in a bucket.

    Raises:
      UserError: it is a URL.
    """
    if scheme(path) is not None:
        raise UserError(f"{what} {os.fspath(path)} must be on a local disk: {instead}")


def _prepare() -> None:
    """Make epath use `bucket.FileSystem`, and TensorStore the same emulator, if the variable names one."""
    import fsspec

    # TensorFlow, if it is installed, would be imported for each path in a bucket, and would take the GPU.
    os.environ["EPATH_USE_TF"] = "false"
    if emulator := os.environ.get("STORAGE_EMULATOR_HOST"):
        os.environ.setdefault("TENSORSTORE_GCS_HTTP_URL", emulator)
    fsspec.register_implementation("gcs", "alexnet_jax.remote.bucket.FileSystem", clobber=True)
