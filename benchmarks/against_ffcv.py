"""Compare our loader with FFCV: 256x256 images in random order from the page cache.

    apt-get install pkg-config libopencv-dev libturbojpeg0-dev
    pip install torch ffcv
    python benchmarks/against_ffcv.py [--photos=DIR] [--images=10000] [--rounds=3] [--workers=2]

Both read the same pixels: ours from the cache of benchmarks/loader.py, FFCV from a .beton file. The pixels
are raw, or JPEGs of quality 95, which FFCV encodes itself. Batches have 128 images. Both use the same number
of threads. Ours puts the batches on JAX's device. Each measurement is a process with several epochs. Of
ours, the first ten batches are not timed; of FFCV, which restarts its threads, the first ten of each epoch.
The ratio is our images/s divided by FFCV's: above 1, ours is faster.
"""

import argparse
import importlib.metadata
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from loader import SIZE, make_cache

from alexnet_jax.config import base
from alexnet_jax.data import cache, loader
from alexnet_jax.data.images import QUALITY
from alexnet_jax.parallel.mesh import local_mesh

BATCH, WARM = 128, 10  # untimed batches


class Pixels:
    """Yield a cache's training images and labels to FFCV's writer."""

    def __init__(self, path: Path) -> None:
        self.cache = cache.load(path)

    def __len__(self) -> int:
        return len(self.cache.labels["train"])

    def __getitem__(self, i: int) -> tuple[np.ndarray, int]:
        return self.cache.images["train"][np.array([i])][0], int(self.cache.labels["train"][i])


def write_beton(path: Path, encoding: str) -> None:
    from ffcv.fields import IntField, RGBImageField
    from ffcv.writer import DatasetWriter

    mode = "jpg" if encoding == "jpeg" else "raw"
    fields = {"image": RGBImageField(write_mode=mode, jpeg_quality=QUALITY), "label": IntField()}
    DatasetWriter(str(path / "train.beton"), fields, num_workers=1).from_indexed_dataset(Pixels(path))


def ffcv_batches(path: Path, workers: int) -> Iterable[Any]:
    from ffcv.fields.decoders import IntDecoder, SimpleRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import ToTensor

    batches = Loader(
        str(path / "train.beton"),
        batch_size=BATCH,
        num_workers=workers,
        os_cache=True,
        order=OrderOption.RANDOM,
        pipelines={"image": [SimpleRGBImageDecoder(), ToTensor()], "label": [IntDecoder(), ToTensor()]},
    )
    for _ in batches:  # compile
        pass
    return batches


def our_batches(path: Path, workers: int, epochs: int) -> Iterable[Any]:
    loader.THREADS = workers
    config = base()
    config.batch_size = BATCH
    opened = cache.load(path)
    steps = WARM + epochs * (len(opened.labels["train"]) // BATCH)
    return map(jax.block_until_ready, loader.training_batches(opened, config, local_mesh(), 0, steps))


def time_one(which: str, path: Path, workers: int, epochs: int) -> None:
    """Print images per second."""
    runs = [our_batches(path, workers, epochs)] if which == "ours" else [ffcv_batches(path, workers)] * epochs
    count, seconds = 0, 0.0
    for run in runs:
        began = time.perf_counter()
        for i, _ in enumerate(run, start=1):
            if i <= WARM:
                began = time.perf_counter()
            else:
                count += BATCH
        seconds += time.perf_counter() - began
    print(count / seconds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--photos", type=Path, help="folder of photographs; without it, smooth noise")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8, help="number of epochs in a round")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--time", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.images < (WARM + 1) * BATCH:
        parser.error(f"--images is {args.images}, but must be {(WARM + 1) * BATCH} or more")
    if args.time:
        time_one(args.time[0], Path(args.time[1]), args.workers, args.epochs)
        return
    versions = (f"{name} {importlib.metadata.version(name)}" for name in ("jax", "ffcv", "torch"))
    print(f"{', '.join(versions)}; {args.images:,} images of {SIZE}x{SIZE}, batches of {BATCH}")
    for encoding in ("raw", "jpeg"):
        with tempfile.TemporaryDirectory(prefix="alexnet-jax-") as directory:
            path = Path(directory)
            make_cache(path, args.images, encoding, args.photos)
            stored = sum(file.stat().st_size for file in path.iterdir())
            write_beton(path, encoding)
            beton = (path / "train.beton").stat().st_size
            rates: dict[str, list[float]] = {"ours": [], "FFCV": []}
            settings = [f"--workers={args.workers}", f"--epochs={args.epochs}"]
            command = [sys.executable, __file__, *settings, "--time"]
            for _ in range(args.rounds):
                for which, measured in rates.items():
                    output = subprocess.check_output([*command, which, str(path)], text=True)
                    measured.append(float(output.split()[-1]))
        sizes = (f"{size / args.images:,.0f}" for size in (stored, beton))
        print("{}: {} bytes an image in ours, {} in FFCV's".format(encoding, *sizes))
        for which, measured in rates.items():
            print(f"  {which}: images/s {', '.join(f'{rate:,.0f}' for rate in measured)}")
        print(f"  ours / FFCV, the fastest round of each: {max(rates['ours']) / max(rates['FFCV']):.2f}")


if __name__ == "__main__":
    main()
