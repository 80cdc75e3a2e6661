"""The loader alone: 256x256 images in random order from a raw cache in memory, batches of 128.

python benchmarks/loader.py [--images=10000] [--batch_size=128] [--batches=200]
"""

import argparse
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

from alexnet_jax.cache import Cache, DataInfo
from alexnet_jax.config import base
from alexnet_jax.loader import training_batches
from alexnet_jax.mesh import local_mesh


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--batches", type=int, default=200, help="timed, after ten that are not")
    args = parser.parse_args()
    shape = (args.images, 256, 256, 3)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "images.npy"
        images = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
        draws = np.random.default_rng(0)
        for i in range(0, args.images, 1000):
            images[i : i + 1000] = draws.integers(0, 256, images[i : i + 1000].shape, np.uint8)
        images = np.load(path, mmap_mode="r")
        labels = np.zeros(args.images, np.int32)
        info = DataInfo("random", "", "", (256, 256), ("",), {"train": args.images}, np.eye(3), np.zeros(3))
        cache = Cache(Path(directory), info, {"train": images}, {"train": labels})
        config = base()
        config.batch_size = args.batch_size
        batches = training_batches(cache, config, local_mesh(), 0, 10 + args.batches)
        for _ in range(10):
            next(batches)
        began = time.perf_counter()
        for batch in batches:
            jax.block_until_ready(batch)
        seconds = time.perf_counter() - began
        rows = [draws.integers(0, args.images, args.batch_size) for _ in range(args.batches)]
        began = time.perf_counter()
        for chosen in rows:
            np.take(images, chosen, axis=0)
        alone = time.perf_counter() - began
    count = args.batches * args.batch_size
    print(
        f"loader {count / seconds:,.0f} images/s ({count * 256 * 256 * 3 / seconds / 1e9:.2f} GB/s),"
        f" numpy.take in one thread {count / alone:,.0f}"
    )


if __name__ == "__main__":
    main()
