"""Load batches of images with FFCV, in random order from the page cache.

    apt-get install pkg-config libopencv-dev libturbojpeg0-dev
    pip install torch ffcv
    python benchmarks/peers/ffcv_loader.py write IMAGES.npy OUT.beton --mode=raw|jpg --quality=95
    python benchmarks/peers/ffcv_loader.py load FILE.beton --workers=2 --epochs=8

IMAGES.npy has the shape (images, height, width, 3). ``load`` prints images per second. FFCV restarts its
threads in each epoch, so the first ten batches of each are not timed. ``benchmarks/against_ffcv.py`` runs
both.
"""

import argparse
import time

import numpy as np
from ffcv.fields import IntField, RGBImageField
from ffcv.fields.decoders import IntDecoder, SimpleRGBImageDecoder
from ffcv.loader import Loader, OrderOption
from ffcv.transforms import ToTensor
from ffcv.writer import DatasetWriter


class Pixels:
    """Images for FFCV's writer, all with the label 0."""

    def __init__(self, path: str) -> None:
        self.images = np.load(path, mmap_mode="r")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[np.ndarray, int]:
        return np.array(self.images[i]), 0


def write(args: argparse.Namespace) -> None:
    fields = {"image": RGBImageField(write_mode=args.mode, jpeg_quality=args.quality), "label": IntField()}
    DatasetWriter(args.out, fields, num_workers=1).from_indexed_dataset(Pixels(args.images))


def load(args: argparse.Namespace) -> None:
    batches = Loader(
        args.file,
        batch_size=args.batch_size,
        num_workers=args.workers,
        os_cache=True,
        order=OrderOption.RANDOM,
        pipelines={"image": [SimpleRGBImageDecoder(), ToTensor()], "label": [IntDecoder(), ToTensor()]},
    )
    for _ in batches:  # compile
        pass
    count, seconds = 0, 0.0
    for _ in range(args.epochs):
        began = time.perf_counter()
        for i, _ in enumerate(batches, start=1):
            if i <= args.warm:
                began = time.perf_counter()
            else:
                count += args.batch_size
        seconds += time.perf_counter() - began
    print(count / seconds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    writing = commands.add_parser("write")
    writing.set_defaults(run=write)
    writing.add_argument("images")
    writing.add_argument("out")
    writing.add_argument("--mode", choices=("raw", "jpg"), default="raw")
    writing.add_argument("--quality", type=int, default=95)
    loading = commands.add_parser("load")
    loading.set_defaults(run=load)
    loading.add_argument("file")
    loading.add_argument("--batch_size", type=int, default=128)
    loading.add_argument("--workers", type=int, default=2)
    loading.add_argument("--epochs", type=int, default=8)
    loading.add_argument("--warm", type=int, default=10, help="untimed batches of each epoch")
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
