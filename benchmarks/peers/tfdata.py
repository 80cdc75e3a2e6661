"""Decode, shrink and crop photographs with tf.data, on all cores.

    pip install tensorflow
    python benchmarks/peers/tfdata.py FOLDER [--method=area|bilinear]

Prints the seconds of the second epoch; the first is not timed. ``benchmarks/against_tfdata.py`` runs it.
"""

import argparse
import os
import time
from pathlib import Path

os.environ |= {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}

import tensorflow as tf

SIZE = 256


def square(path: tf.Tensor, method: str) -> tf.Tensor:
    """Rescale a photograph to a shorter side of 256 pixels, and crop its centre."""
    image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
    sides = tf.cast(tf.shape(image)[:2], tf.float64)
    scaled = tf.cast(tf.round(sides * SIZE / tf.reduce_min(sides)), tf.int32)
    pixels = tf.cast(tf.round(tf.image.resize(image, scaled, method)), tf.uint8)
    top, left = tf.unstack((scaled - SIZE) // 2)
    return pixels[top : top + SIZE, left : left + SIZE]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--method", choices=("area", "bilinear"), default="area")
    args = parser.parse_args()
    paths = tf.data.Dataset.from_tensor_slices(sorted(map(str, args.folder.glob("*/*"))))
    images = paths.map(
        lambda path: square(path, args.method), num_parallel_calls=tf.data.AUTOTUNE, deterministic=False
    )
    batches = images.batch(128).prefetch(tf.data.AUTOTUNE)
    for _ in range(2):
        began = time.perf_counter()
        for _ in batches:
            pass
    print(time.perf_counter() - began)


if __name__ == "__main__":
    main()
