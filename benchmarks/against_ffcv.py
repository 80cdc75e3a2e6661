"""Compare our loader with FFCV: 256x256 images in random order from the page cache.

    apt-get install pkg-config libopencv-dev libturbojpeg0-dev
    pip install torch ffcv
    python benchmarks/against_ffcv.py [--photos=DIR] [--images=10000] [--rounds=3] [--peer_python=PYTHON]

Both read the same pixels: ours from the cache of benchmarks/loader.py, FFCV from a .beton file. The pixels
are raw, or JPEGs of quality 95, which FFCV encodes itself. Batches have 128 images. Both use the same number
of threads. Ours puts the batches on JAX's device. Each measurement is a process with several epochs. Of
ours, the first ten batches are not timed; of FFCV, which restarts its threads, the first ten of each epoch.
The ratio is our images/s divided by FFCV's: above 1, ours is faster. The program of FFCV is
benchmarks/peers/ffcv_loader.py.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from loader import SIZE, WARM, images_per_second, make_cache, warm_batches
from machine import add_peer_python, processor, versions
from options import parser

from alexnet_jax.data import cache, loader
from alexnet_jax.data.images import QUALITY

PEER = Path(__file__).parent / "peers" / "ffcv_loader.py"
BATCH = 128


def save_pixels(path: Path, out: Path) -> None:
    """Write the training images of a cache as one array."""
    images = cache.load(path).images["train"]
    pixels = np.lib.format.open_memmap(out, "w+", np.uint8, images.shape)
    for row in range(len(images)):
        pixels[row] = images[[row]][0]
    pixels.flush()


def load(path: Path, workers: int, epochs: int) -> float:
    """Return the images per second of our loader."""
    loader.THREADS = workers
    opened = cache.load(path)
    count = epochs * (len(opened.labels["train"]) // BATCH)
    return images_per_second(warm_batches(opened, BATCH, count), BATCH)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--images", type=int, default=10_000)
    options.add_argument("--photos", type=Path, help="folder of photographs; without it, smooth noise")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--epochs", type=int, default=8, help="number of epochs in a round")
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    add_peer_python(options, "FFCV")
    args = options.parse_args()
    if args.images < (WARM + 1) * BATCH:
        options.error(f"--images is {args.images}, but must be {(WARM + 1) * BATCH} or more")
    if args.cache:
        print(load(args.cache, args.workers, args.epochs))
        return
    print(versions(["jax", "numpy", "simplejpeg"], args.peer_python, ["ffcv", "torch"]))
    print(f"{processor()}; {args.images:,} images of {SIZE}x{SIZE}, batches of {BATCH}")
    settings = (f"--workers={args.workers}", f"--epochs={args.epochs}")
    for encoding, mode in (("raw", "raw"), ("jpeg", "jpg")):
        with tempfile.TemporaryDirectory(prefix="alexnet-jax-") as directory:
            path, beton = Path(directory) / "cache", Path(directory) / "train.beton"
            pixels = Path(directory) / "pixels.npy"
            path.mkdir()
            make_cache(path, args.images, encoding, args.photos)
            save_pixels(path, pixels)
            write = (args.peer_python, PEER, "write", pixels, beton, f"--mode={mode}", f"--quality={QUALITY}")
            subprocess.run(write, stdout=sys.stderr, check=True)
            pixels.unlink()
            sizes = (sum(file.stat().st_size for file in path.iterdir()), beton.stat().st_size)
            runs = {
                "ours": (sys.executable, __file__, f"--cache={path}", *settings),
                "FFCV": (args.peer_python, PEER, "load", beton, *settings, f"--batch_size={BATCH}"),
            }
            rates: dict[str, list[float]] = {name: [] for name in runs}
            for _ in range(args.rounds):
                for name, command in runs.items():
                    rates[name].append(float(subprocess.check_output(command, text=True).split()[-1]))
        each = (f"{size / args.images:,.0f}" for size in sizes)
        print("{}: {} bytes an image in ours, {} in FFCV's".format(encoding, *each))
        for name, measured in rates.items():
            print(f"  {name}: images/s {', '.join(f'{rate:,.0f}' for rate in measured)}")
        print(f"  ours / FFCV, the fastest round of each: {max(rates['ours']) / max(rates['FFCV']):.2f}")


if __name__ == "__main__":
    main()
