"""Compare our preparation of images with tf.data, which only decodes, shrinks and crops, on all cores.

    pip install tensorflow
    python benchmarks/against_tfdata.py PHOTOS [--copies=120] [--rounds=3]

PHOTOS is the same as for benchmarks/prepare.py. tf.data shrinks by the mean over areas, as ours does, or by
bilinear interpolation, as most pipelines do. It discards its batches. Ours writes a cache with statistics and
checksums, and its time includes the start of its processes. They take turns, each in its own process. tf.data
runs an untimed epoch first. The fastest round of each counts. A ratio above 1 means that ours is faster.
"""

import argparse
import importlib.metadata
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from prepare import link_copies

from alexnet_jax.config import base
from alexnet_jax.data.build import build
from alexnet_jax.data.dataset import cache_path
from alexnet_jax.runtime.cores import cores

SIZE = 256


def ours(folder: Path, encoding: str) -> float:
    with tempfile.TemporaryDirectory(prefix="alexnet-jax-") as directory:
        data = base().data
        data.source, data.cache_dir, data.encoding = f"folder:{folder}", directory, encoding
        began = time.perf_counter()
        build(cache_path(data), data, lambda _: None)
        return time.perf_counter() - began


def tf_data(folder: Path, method: str) -> float:
    os.environ |= {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    import tensorflow as tf

    def square(path: Any) -> Any:
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        sides = tf.cast(tf.shape(image)[:2], tf.float64)
        scaled = tf.cast(tf.round(sides * SIZE / tf.reduce_min(sides)), tf.int32)
        pixels = tf.cast(tf.round(tf.image.resize(image, scaled, method)), tf.uint8)
        top, left = tf.unstack((scaled - SIZE) // 2)
        return pixels[top : top + SIZE, left : left + SIZE]

    paths = tf.data.Dataset.from_tensor_slices(sorted(map(str, folder.glob("*/*"))))
    images = paths.map(square, num_parallel_calls=tf.data.AUTOTUNE, deterministic=False)
    batches = images.batch(128).prefetch(tf.data.AUTOTUNE)
    for _ in range(2):
        began = time.perf_counter()
        for _ in batches:
            pass
    return time.perf_counter() - began


RUNS = {
    "ours, raw": (ours, "raw"),
    "ours, jpeg": (ours, "jpeg"),
    "tf.data, mean over areas": (tf_data, "area"),
    "tf.data, bilinear": (tf_data, "bilinear"),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("--copies", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--time", choices=RUNS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.time:
        run, how = RUNS[args.time]
        print(run(args.photos, how))
        return
    with tempfile.TemporaryDirectory(prefix="alexnet-jax-") as directory:
        photos = link_copies(args.photos, Path(directory), args.copies)
        count = len(photos) * args.copies
        seconds: dict[str, list[float]] = {name: [] for name in RUNS}
        for _ in range(args.rounds):
            for name, measured in seconds.items():
                command = [sys.executable, __file__, directory, f"--time={name}"]
                measured.append(float(subprocess.check_output(command, text=True).split()[-1]))
    print(f"tensorflow {importlib.metadata.version('tensorflow')}, {count:,} photographs, {cores()} cores")
    for name, measured in seconds.items():
        print(f"  {name}: images/s {', '.join(f'{count / each:,.0f}' for each in measured)}")
    for name in list(RUNS)[2:]:
        ratios = (f"{min(seconds[name]) / min(seconds[f'ours, {x}']):.2f} ({x})" for x in ("raw", "jpeg"))
        print(f"  ours / {name}: {', '.join(ratios)}")


if __name__ == "__main__":
    main()
