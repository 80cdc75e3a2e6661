"""Measure the loader alone: 256x256 images in random order from the page cache, batches of 128.

    python benchmarks/loader.py [--encoding=raw|jpeg] [--images=10000] [--photos=DIR] [--batches=200]
                                [--cold]

It also prints an upper limit, measured in the same run with as many threads: `numpy.take` on a memory map for
raw images, or the decoder alone for JPEGs. ``--images=1000000`` makes a cache of ImageNet's size, and shows
how long it takes to open and how much memory it keeps. Files beyond 2 GB are links to the first ones, so the
whole cache stays in the page cache. ``--cold`` also measures the loader after the images were removed from
the page cache. A virtual machine can't remove them from the page cache of its host.
"""

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
from options import parser

from alexnet_jax.config import base
from alexnet_jax.data import images as images_lib
from alexnet_jax.data.cache import Cache, DataInfo, load, write_manifest
from alexnet_jax.data.loader import THREADS, training_batches
from alexnet_jax.data.shards import parts
from alexnet_jax.parallel.mesh import local_mesh

SIZE = 256
OWN = 2**31  # bytes of a cache before its files are links; much more than the caches of a processor
WARM = 10  # untimed batches
ROUNDS = 3  # of the loader and its limit, in turns; the fastest counts


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--encoding", choices=("raw", "jpeg"), default="raw")
    options.add_argument("--images", type=int, default=10_000)
    options.add_argument(
        "--photos", type=Path, help="folder of photographs, for jpeg; without it, smooth noise"
    )
    options.add_argument("--batch_size", type=int, default=128)
    options.add_argument("--batches", type=int, default=200, help="timed batches, after ten untimed ones")
    options.add_argument("--cold", action="store_true", help="also measure it with nothing in the page cache")
    args = options.parse_args()
    if args.cold and args.images <= (WARM + 1) * args.batch_size:
        options.error(f"--cold needs more than {(WARM + 1) * args.batch_size:,} images")
    with tempfile.TemporaryDirectory(prefix="alexnet-jax-") as directory:
        path = Path(directory)
        make_cache(path, args.images, args.encoding, args.photos)
        before, began = memory(), time.perf_counter()
        cache = load(path)
        opened = time.perf_counter() - began
        print(
            f"{args.images:,} images, {args.encoding}: opened in {opened:.3f} s, {memory() - before:.1f} MB"
        )

        limit = take_limit if args.encoding == "raw" else decode_limit
        what = "numpy.take on a memory map" if args.encoding == "raw" else "simplejpeg alone"
        size = (args.batch_size, args.batches)
        images_per_second(warm_batches(cache, *size), args.batch_size)  # not counted
        rates, limits, before, grown = [], [], memory(), 0.0
        for turn in range(ROUNDS):
            rates.append(images_per_second(warm_batches(cache, *size), args.batch_size))
            grown = grown if turn else memory() - before
            limits.append(limit(path, *size))
        best = max(rates)
        print(
            f"loader, {THREADS} threads: {best:,.0f} images/s ({best * 3 * SIZE**2 / 1e9:.2f} GB/s of"
            f" pixels); {grown:.1f} MB more after {args.batches} batches"
        )
        print(f"{what}, {THREADS} threads: {max(limits):,.0f} images/s; {best / max(limits):.2f} of it")
        if args.cold:
            rates = [from_disk(cache, path, *size) for _ in range(ROUNDS)]
            print(f"from the disk: {', '.join(f'{rate:,.0f}' for rate in rates)} images/s")


def from_disk(cache: Cache, path: Path, batch_size: int, batches: int) -> float:
    """Measure the loader after removing the images from the page cache. Each image is read once at most."""
    for file in path.glob("train-*.images"):
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)  # only pages that are on the disk can be removed
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
    batches = min(batches, len(cache.labels["train"]) // batch_size - WARM)
    return images_per_second(warm_batches(cache, batch_size, batches), batch_size)


def warm_batches(cache: Cache, batch_size: int, count: int) -> Iterator[Any]:
    """Return batches of a cache, after loading ten untimed ones, which touch new memory."""
    config = base()
    config.batch_size = batch_size
    batches = training_batches(cache, config, local_mesh(), 0, WARM + count)
    for _ in range(WARM):
        next(batches)
    return batches


def images_per_second(batches: Iterable[Any], batch_size: int) -> float:
    """Measure the images/s of all batches, loaded onto JAX's device."""
    count, began = 0, time.perf_counter()
    for batch in batches:
        jax.block_until_ready(batch)
        count += batch_size
    return count / (time.perf_counter() - began)


def memory() -> float:
    """Return the peak memory of this process in megabytes, without the page cache."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def make_cache(path: Path, count: int, encoding: str, photos: Path | None) -> None:
    """Write an artificial cache."""
    files: list[tuple[Path, list[int], int]] = []  # with the sizes of its images and its checksum
    written, contents = 0, cycle(encoding, photos)
    for part in parts("train", count, SIZE):
        file, sizes, checksum = path / part.images_name, list[int](), 0
        alike = files[part.number % len(files)] if written > OWN else None
        if alike is not None and len(alike[1]) == len(part.examples):
            file.hardlink_to(alike[0])
            files.append((file, *alike[1:]))
            continue
        with file.open("wb") as out:
            for content in itertools.islice(contents, len(part.examples)):
                out.write(content)
                sizes.append(len(content))
                checksum = zlib.crc32(content, checksum)
        written += sum(sizes)
        files.append((file, sizes, checksum))
    manifest = {file.name: (sum(sizes), checksum) for file, sizes, checksum in files}
    ends = np.cumsum(np.concatenate([[0], *(sizes for _, sizes, _ in files)]))
    np.save(path / "train.offsets.npy", ends)
    np.save(path / "train.labels.npy", np.zeros(count, np.int32))
    names = tuple(map(str, range(1000)))
    mean = np.zeros((SIZE, SIZE, 3), np.float32)
    info = DataInfo(
        "made up", "1", "1", encoding, (SIZE, SIZE), names, names, {"train": count}, np.eye(3), mean
    )
    info.save(path)
    write_manifest(path, manifest)


def cycle(encoding: str, photos: Path | None) -> Iterator[bytes]:
    """Yield stored images repeatedly, from the photographs or from noise."""
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
    """Measure the images/s of copying the same bytes alone, always to the same memory."""
    maps = [np.memmap(file, np.uint8, "r") for file in sorted(path.glob("train-*.images"))]
    images = [file.reshape(-1, SIZE, SIZE, 3) for file in maps]
    draws = np.random.default_rng(0)
    local = threading.local()

    def take(number: int, rows: np.ndarray) -> None:
        if not hasattr(local, "out"):
            local.out = np.empty((batch_size, SIZE, SIZE, 3), np.uint8)
        np.take(images[number], rows, axis=0, out=local.out, mode="clip")

    numbers = draws.integers(0, len(images), batches).tolist()  # each batch from one file
    rows = [draws.integers(0, len(images[number]), batch_size) for number in numbers]
    return batches * batch_size / seconds_of(take, numbers, rows)


def decode_limit(path: Path, batch_size: int, batches: int) -> float:
    """Measure the images/s of decoding alone, from memory to memory."""
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
    """Measure the seconds that as many threads as the loader has take for some work."""
    with ThreadPoolExecutor(THREADS) as threads:
        began = time.perf_counter()
        list(threads.map(work, *arguments))
        return time.perf_counter() - began


if __name__ == "__main__":
    main()
