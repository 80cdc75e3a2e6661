"""Compare our preparation of images with tf.data, which only decodes, shrinks and crops, on all cores.

    pip install tensorflow
    python benchmarks/against_tfdata.py PHOTOS [--copies=120] [--rounds=3] [--peer_python=PYTHON]

PHOTOS is the same as for benchmarks/prepare.py. tf.data shrinks by the mean over areas, as ours does, or by
bilinear interpolation, as most pipelines do. It discards its batches. Ours writes a cache with statistics and
checksums, and its time includes the start of its processes. They take turns, each in its own process. tf.data
runs an untimed epoch first. The fastest round of each counts. A ratio above 1 means that ours is faster.
The program of tf.data is benchmarks/peers/tfdata.py.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import add_peer_python, processor, versions
from options import parser
from prepare import link_copies

from alexnet_jax.config import base
from alexnet_jax.data.build import build
from alexnet_jax.data.dataset import cache_path

PEER = Path(__file__).parent / "peers" / "tfdata.py"


def prepare(folder: str, encoding: str) -> float:
    """Return the seconds of building our cache."""
    with tempfile.TemporaryDirectory(prefix="alexnet-jax-") as directory:
        data = base().data
        data.source, data.cache_dir, data.encoding = f"folder:{folder}", directory, encoding
        began = time.perf_counter()
        build(cache_path(data), data, lambda _: None)
        return time.perf_counter() - began


def main() -> None:
    options = parser(__doc__)
    options.add_argument("photos", type=Path)
    options.add_argument("--copies", type=int, default=120)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--encoding", help=argparse.SUPPRESS)
    add_peer_python(options, "TensorFlow")
    args = options.parse_args()
    if args.encoding:
        print(prepare(args.photos, args.encoding))
        return
    print(versions(["alexnet-jax", "simplejpeg", "numpy"], args.peer_python, ["tensorflow"]))
    print(processor())
    with tempfile.TemporaryDirectory(prefix="alexnet-jax-") as directory:
        count = len(link_copies(args.photos, Path(directory), args.copies)) * args.copies
        ours = (sys.executable, __file__, directory)
        theirs = (args.peer_python, str(PEER), directory)
        runs = {
            "ours, raw": (*ours, "--encoding=raw"),
            "ours, jpeg": (*ours, "--encoding=jpeg"),
            "tf.data, mean over areas": (*theirs, "--method=area"),
            "tf.data, bilinear": (*theirs, "--method=bilinear"),
        }
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(args.rounds):
            for name, command in runs.items():
                seconds[name].append(float(subprocess.check_output(command, text=True).split()[-1]))
    print(f"{count:,} photographs")
    for name, measured in seconds.items():
        print(f"  {name}: images/s {', '.join(f'{count / each:,.0f}' for each in measured)}")
    for name in list(runs)[2:]:
        ratios = (f"{min(seconds[name]) / min(seconds[f'ours, {x}']):.2f} ({x})" for x in ("raw", "jpeg"))
        print(f"  ours / {name}: {', '.join(ratios)}")


if __name__ == "__main__":
    main()
