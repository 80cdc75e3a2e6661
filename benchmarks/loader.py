"""The loader alone: 256x256 images in random order from the page cache, batches of 128.

python benchmarks/loader.py [--encoding=raw|jpeg] [--images=10000] [--photos=DIR] [--batches=200]

Beside it, in the same run and with as many threads, its limit: `numpy.take` on a memory map, or the decoder
alone. With ``--images=1000000`` it is the cache of ImageNet's size: how long it takes to open, what it keeps
in memory. Such a cache takes no room: its raw files are sparse, its JPEG files are one, linked many times.
"""

import argparse
import itertools
import os
import resource
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
import simplejpeg

from alexnet_jax import images as images_lib
from alexnet_jax.cache import DataInfo, load, write_manifest
from alexnet_jax.config import base
from alexnet_jax.loader import THREADS, training_batches
from alexnet_jax.mesh import local_mesh
from alexnet_jax.shards import parts

SIZE = 256
SPARSE_FROM = 100_000  # images; below, raw files hold noise


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoding", choices=("raw", "jpeg"), default="raw")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--photos", type=Path, help="a folder of photographs, for jpeg; else smooth noise")
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--batches", type=int, default=200, help="timed, after ten that are not")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="alexnet-jax-") as directory:
        path = Path(directory)
        make_cache(path, args.images, args.encoding, args.photos)
        before, began = memory(), time.perf_counter()
        cache = load(path)
        opened = time.perf_counter() - began
        print(
            f"{args.images:,} images, {args.encoding}: opened in {opened:.3f} s, {memory() - before:.1f} MB"
        )

        config = base()
        config.batch_size = args.batch_size
        batches = training_batches(cache, config, local_mesh(), 0, 10 + args.batches)
        for _ in range(10):
            next(batches)
        before, began = memory(), time.perf_counter()
        for batch in batches:
            jax.block_until_ready(batch)
        seconds = time.perf_counter() - began
        rate = args.batches * args.batch_size / seconds
        print(
            f"loader, {THREADS} threads: {rate:,.0f} images/s ({rate * 3 * SIZE**2 / 1e9:.2f} GB/s of"
            f" pixels); {memory() - before:.1f} MB more after {args.batches} batches"
        )
        if args.encoding == "jpeg" or args.images < SPARSE_FROM:
            limit = take_limit if args.encoding == "raw" else decode_limit
            name = "numpy.take on a memory map" if args.encoding == "raw" else "simplejpeg alone"
            best = max(limit(path, args.batch_size, args.batches) for _ in range(3))
            print(f"{name}, {THREADS} threads: {best:,.0f} images/s; the loader has {rate / best:.2f} of it")


def memory() -> float:
    """Megabytes that this process has used at most; without the page cache, which is the system's."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def make_cache(path: Path, count: int, encoding: str, photos: Path | None) -> None:
    """A cache that nobody prepared."""
    sizes: list[int] = []
    manifest: dict[str, tuple[int, int]] = {}
    first, first_sizes = path, [0]  # the file that others are links to
    for part in parts("train", count, SIZE):
        file, examples = path / part.images_name, len(part.examples)
        checksum = 0
        if encoding == "raw" and count >= SPARSE_FROM:
            file.touch()
            os.truncate(file, examples * 3 * SIZE**2)
            sizes += [3 * SIZE**2] * examples
        elif encoding == "jpeg" and examples == len(first_sizes):
            file.hardlink_to(first)
            sizes += first_sizes
            checksum = manifest[first.name][1]
        else:
            contents = [content for content, _ in zip(cycle(encoding, photos), part.examples, strict=False)]
            file.write_bytes(b"".join(contents))
            checksum = zlib.crc32(file.read_bytes())
            first, first_sizes = file, [len(content) for content in contents]
            sizes += first_sizes
        manifest[file.name] = (file.stat().st_size, checksum)
    np.save(path / "train.labels.npy", np.zeros(count, np.int32))
    np.save(path / "train.offsets.npy", np.cumsum([0, *sizes]))
    names = tuple(map(str, range(1000)))
    mean = np.zeros((SIZE, SIZE, 3), np.float32)
    info = DataInfo(
        "made up", "1", "1", encoding, (SIZE, SIZE), names, names, {"train": count}, np.eye(3), mean
    )
    info.save(path)
    write_manifest(path, manifest)


def cycle(encoding: str, photos: Path | None) -> Iterator[bytes]:
    """The cache's files of photographs, or of noise, over and over."""
    draws = np.random.default_rng(0)
    if photos is not None:
        squares = [images_lib.square(file.read_bytes(), SIZE)[0] for file in sorted(photos.rglob("*.JPEG"))]
    else:
        coarse = draws.integers(0, 256, (100, 32, 32, 3), np.uint8)
        squares = [images_lib.square(noise, SIZE)[0] for noise in coarse]
    contents = [images_lib.encode(x) if encoding == "jpeg" else x.tobytes() for x in squares]
    while True:
        yield from contents


def take_limit(path: Path, batch_size: int, batches: int) -> float:
    """Images/s of what reads the same bytes and does nothing else, to the same memory again and again."""
    maps = [np.memmap(file, np.uint8, "r") for file in sorted(path.glob("train-*.images"))]
    images = [file.reshape(-1, SIZE, SIZE, 3) for file in maps]
    draws = np.random.default_rng(0)
    local = threading.local()

    def take(number: int, rows: np.ndarray) -> None:
        if not hasattr(local, "out"):
            local.out = np.empty((batch_size, SIZE, SIZE, 3), np.uint8)
        np.take(images[number], rows, axis=0, out=local.out, mode="clip")

    numbers = draws.integers(0, len(images), batches).tolist()  # it takes from one array: a file a batch
    rows = [draws.integers(0, len(images[number]), batch_size) for number in numbers]
    return batches * batch_size / seconds_of(take, numbers, rows)


def decode_limit(path: Path, batch_size: int, batches: int) -> float:
    """Images/s of the decoder alone, from memory to memory."""
    offsets = np.load(path / "train.offsets.npy")[:1001].tolist()
    content = next(iter(sorted(path.glob("train-*.images")))).read_bytes()
    contents = [content[a:b] for a, b in itertools.pairwise(offsets) if b <= len(content)]
    local = threading.local()

    def decode(start: int) -> None:
        if not hasattr(local, "out"):
            local.out = np.empty((SIZE, SIZE, 3), np.uint8)
        for i in range(start, start + batch_size):
            simplejpeg.decode_jpeg(contents[i % len(contents)], "RGB", buffer=local.out)

    return batches * batch_size / seconds_of(decode, range(0, batches * batch_size, batch_size))


def seconds_of(work: Callable[..., None], *arguments: Iterable[Any]) -> float:
    """What the loader's number of threads take to do all of it."""
    with ThreadPoolExecutor(THREADS) as threads:
        began = time.perf_counter()
        list(threads.map(work, *arguments))
        return time.perf_counter() - began


if __name__ == "__main__":
    main()
