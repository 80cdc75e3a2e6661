"""Measure the speed of preparing photographs, and the difference from Pillow's resize and crop.

    python benchmarks/prepare.py PHOTOS [--copies=60]

PHOTOS has a folder for each class. Each photograph is prepared ``--copies`` times, through links.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
from options import parser
from PIL import Image

from alexnet_jax.config import base
from alexnet_jax.data.build import build
from alexnet_jax.data.cache import load
from alexnet_jax.data.dataset import cache_path
from alexnet_jax.data.images import SUFFIXES
from alexnet_jax.runtime.limits import cores


def main() -> None:
    options = parser(__doc__)
    options.add_argument("photos", type=Path)
    options.add_argument("--copies", type=int, default=60)
    args = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="alexnet-jax-") as directory:
        folder = Path(directory) / "photos"
        photos = link_copies(args.photos, folder, args.copies)
        data = base().data
        data.source, data.cache_dir = f"folder:{folder}", f"{directory}/cache"
        for encoding in ("raw", "jpeg"):
            data.encoding = encoding
            path = cache_path(data)
            began = time.perf_counter()
            build(path, data, lambda _: None)
            seconds = time.perf_counter() - began
            count = sum(load(path).info.splits.values())
            size = sum(file.stat().st_size for file in path.iterdir())
            print(
                f"{encoding}: {count:,} images in {seconds:.1f} s on {cores()} cores, {count / seconds:,.0f}"
                f" images/s, {size / count / 1e3:.1f} kB an image; {differences(path, photos, folder)}"
            )


def link_copies(originals: Path, folder: Path, copies: int) -> list[Path]:
    """Make a folder with ``copies`` links to each photograph, and return the photographs."""
    photos = sorted(file for file in originals.rglob("*") if file.suffix.lower() in SUFFIXES)
    for photo in photos:
        (folder / photo.parent.name).mkdir(parents=True, exist_ok=True)
        for i in range(copies):
            (folder / photo.parent.name / f"{i:03}_{photo.name}").symlink_to(photo.resolve())
    return photos


def differences(path: Path, photos: list[Path], folder: Path) -> str:
    """Describe the differences between the images of a cache and those that Pillow makes."""
    from alexnet_jax.data.sources import open_source

    cache, source = load(path), open_source(f"folder:{folder}", None, 0.1)
    first: dict[tuple[str, str], tuple[str, int]] = {}  # one copy of each photograph
    for split, images in cache.images.items():
        for row in range(len(images)):
            copy = Path(source.splits[split][row].name)
            first.setdefault((copy.parent.name, copy.name[4:]), (split, row))
    found = []
    for photo in photos:
        split, row = first[photo.parent.name, photo.name]
        image = cache.images[split][[row]][0].astype(int)
        found.append(np.abs(image - by_pillow(photo, len(image))).mean())
    return (
        f"from Pillow's resize and crop {np.mean(found):.3f} grey levels on average, {max(found):.3f} at most"
    )


def by_pillow(photo: Path, size: int) -> np.ndarray:
    """Apply section 2 in two steps: rescale the whole image, then cut out whole pixels."""
    with Image.open(photo) as image:
        short = min(image.size)
        method = Image.Resampling.BOX if short >= size else Image.Resampling.BICUBIC
        scaled = image.convert("RGB").resize([round(side * size / short) for side in image.size], method)
    left, top = (scaled.width - size) // 2, (scaled.height - size) // 2
    return np.asarray(scaled.crop((left, top, left + size, top + size)))


if __name__ == "__main__":
    main()
