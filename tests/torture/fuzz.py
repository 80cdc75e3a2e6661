"""A fuzzer that is guided by coverage: ``python -m tests.torture.fuzz READER WORKDIR CACHE CORPUS [FLAGS]``.

It replaces one file of a workdir or a cache, with a right checksum, and calls the function that reads it,
which must return or raise a `UserError`. The flags are libFuzzer's, such as ``-max_total_time=60`` (seconds).
"""

import contextlib
import functools
import json
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["alexnet_jax"], enable_loader_override=False):
    from alexnet_jax.data import cache
    from alexnet_jax.files import absolute
    from alexnet_jax.training import goodput, metrics, workdir

from tests.hostile import check_refusal, forge


def readers(place: Path, cache_place: Path):
    """Return for each reader the function that writes a file with some bytes, and the one that reads it."""

    def settings(content):
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            (place / "config.json").write_bytes(content)
        else:
            (place / "config.json").write_text(intact)
            if isinstance(found, dict):
                forge(place, found)

    def read_times():
        with contextlib.suppress(ValueError):  # the file is ignored
            goodput.read(absolute(place))

    intact = (place / "config.json").read_text()
    read_workdir = functools.partial(workdir.read_workdir, place)
    return {
        "config.json": (settings, read_workdir),
        "data.json": (lambda content: forge(place, data=content), read_workdir),
        "mean_image.npy": (lambda content: forge(place, mean_image=content), read_workdir),
        "metrics.jsonl": ((place / "metrics.jsonl").write_bytes, lambda: metrics.read(absolute(place))),
        "goodput.json": ((place / "goodput.json").write_bytes, read_times),
        "manifest.json": ((cache_place / "manifest.json").write_bytes, lambda: cache.load(cache_place)),
    }


def main() -> None:
    program, reader, place, cache_place, *flags = sys.argv
    write, read = readers(Path(place), Path(cache_place))[reader]

    def once(content: bytes) -> None:
        write(content)
        check_refusal(read)

    atheris.Setup([program, *flags], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
