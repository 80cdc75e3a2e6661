"""Odd names of workdirs, classes and images: training, evaluation and prediction treat them as names."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.conftest import HOSTILE_NAMES, ODD_NAMES, RECIPES
from tests.torture.outcome import outcome_here

pytestmark = pytest.mark.slow

PARTS = [
    *"abc .-_~*?[]{}()<>|&;:,=+%$#@!^`'\"\\\n\t\r\x01\x1b\x7f\u0301\u200f\u2028\ufeff日é😀",
    "..",
    "%20",
    "//",
]


def name(moments):
    """Return a random name that a file can have."""
    if moments.random() < 0.2:
        return moments.choice([*ODD_NAMES, *HOSTILE_NAMES]).replace("\0", "")
    parts = moments.choices([*PARTS, chr(0xDC80 + moments.randrange(128))], k=moments.randint(1, 60))
    return os.fsdecode(os.fsencode("".join(parts).replace("/", ""))[:200]).strip("/") or "x"


def test_odd_names(tmp_path, cache_dir, turns, capfd, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)
    refused = 0
    for moments in turns:
        place = tmp_path / "place"
        place.mkdir()
        monkeypatch.chdir(place)
        folder, workdir, *classes = dict.fromkeys(name(moments) for _ in range(5))
        for label, each in enumerate(classes):
            (place / folder / each).mkdir(parents=True, exist_ok=True)
            for i in range(4):
                image = Image.fromarray(pixels[2 * label + i % 2])
                with (place / folder / each / f"{name(moments)[:40]}{i}.png").open("wb") as file:
                    image.save(file, "PNG")
        what = repr((folder, workdir, classes))
        source, cache = f"--config.data.source=folder:{folder}", f"--config.data.cache_dir={place / 'cache'}"
        train = ["train", f"--config={RECIPES / 'tiny.py'}", f"--workdir={workdir}", source, cache]
        status = outcome_here([*train, "--config.num_steps=10", "--config.batch_size=2"], capfd, what)
        if status == 0:
            assert (place / workdir / "config.json").exists(), what
            assert outcome_here(["evaluate", f"--workdir={workdir}", source, cache], capfd, what) == 0
            images = [str(file) for file in (place / folder).rglob("*.png")]
            assert outcome_here(["predict", f"--workdir={workdir}", *images], capfd, what) == 0
            saved = f"--save={name(moments)}.png"
            assert outcome_here(["predict", f"--workdir={workdir}", saved, *images[:2]], capfd, what) in (
                0,
                2,
            )
        else:
            refused += 1
        monkeypatch.chdir(tmp_path)
        shutil.rmtree(place)
    print(f"{refused} refusals")
