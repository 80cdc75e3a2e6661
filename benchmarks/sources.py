"""Measure the speed of preparing the same photographs from each form that is read without TensorFlow.

    python benchmarks/sources.py PHOTOS [--count=1500] [--rounds=5]

The photographs below PHOTOS become a folder, ImageNet's archives, Parquet files, shards of WebDataset and
a list in CSV, in four classes, a fifth of them for validation. Each form is prepared in turn. If other work
runs on the machine, the processor's time varies less than the speed. This needs the extra dev.
"""

import contextlib
import itertools
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

from options import parser

from alexnet_jax.config import base
from alexnet_jax.data.build import build
from alexnet_jax.data.cache import load
from alexnet_jax.data.dataset import cache_path
from alexnet_jax.data.images import SUFFIXES
from alexnet_jax.runtime.limits import cores

sys.path.append(str(Path(__file__).parent.parent))  # for the tests

from tests import forms


def main() -> None:
    options = parser(__doc__)
    options.add_argument("photos", type=Path)
    options.add_argument("--count", type=int, default=1500)
    options.add_argument("--rounds", type=int, default=5)
    args = options.parse_args()
    found = sorted(file for file in args.photos.rglob("*") if file.suffix.lower() in SUFFIXES)
    contents = (file.read_bytes() for file in itertools.cycle(found))
    each = args.count // len(forms.IDS)
    photos = forms.photographs(each - each // 5, each // 5, contents)
    with tempfile.TemporaryDirectory(prefix="alexnet-jax-") as directory:
        written = {make.__name__: make(photos, Path(directory) / make.__name__) for make in forms.ALL}
        del photos
        for number in range(args.rounds):
            for name, source in written.items():
                print(measured(name, source, Path(directory) / f"{name}-{number}"), flush=True)


def measured(name: str, source: str, caches: Path) -> str:
    """Prepare a source, and describe the time and the disk space."""
    data = base().data
    data.source, data.cache_dir, data.encoding = source, str(caches), "jpeg"
    path, most, done = cache_path(data), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            most[0] = max(most[0], size_of(caches))

    watcher = threading.Thread(target=watch)
    watcher.start()
    began, before = time.perf_counter(), sum(os.times()[:4])
    build(path, data, lambda _: None)
    seconds, processor = time.perf_counter() - began, sum(os.times()[:4]) - before
    done.set()
    watcher.join()
    count = sum(load(path).info.splits.values())
    return (
        f"{name}: {count:,} images, {count / seconds:,.0f} images/s on {cores()} cores,"
        f" {1e3 * processor / count:.2f} ms of processor time an image;"
        f" {most[0] / 1e6:.1f} MB of disk for a cache of {size_of(path) / 1e6:.1f} MB"
    )


def size_of(directory: Path) -> int:
    """Return the bytes of the files in a directory, which another thread may be changing."""
    total = 0
    for file in directory.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += file.stat().st_size
    return total


if __name__ == "__main__":
    main()
