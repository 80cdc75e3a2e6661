"""Files of workdirs, caches and sources that a fuzzer writes: each is read, or refused with a `UserError`."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow

READERS = (
    *("config.json", "data.json", "mean_image.npy", "metrics.jsonl", "goodput.json", "manifest.json"),
    *("samples.tar", "train.tar", "val.tar", "devkit.tar", "train.parquet", "list.csv"),
    *("dataset_info.json", "features.json", "train.array_record", "train.tfrecord"),
)
SECONDS = 20
"""Time of a turn."""

LONGEST = 20
"""Seconds that a file may take."""


def cache_in(cache_dir):
    """Return the directory of a cache, from the folder of all."""
    return next(file.parent for file in sorted(Path(cache_dir).rglob("manifest.json")))


def test_fuzzed_files(trained, cache_dir, tmp_path, turns):
    pytest.importorskip("atheris", reason="atheris has no wheel for this Python")
    runs = 0
    for moments in turns:
        reader, seed = moments.choice(READERS), moments.getrandbits(31)
        place = tmp_path / f"turn{turns.number}"
        shutil.copytree(trained, place / "workdir")
        shutil.copytree(cache_in(cache_dir), place / "cache")
        done = subprocess.run(
            [
                sys.executable, "-m", "tests.torture.fuzz", reader, place,
                f"-max_total_time={SECONDS}", f"-timeout={LONGEST}", f"-seed={seed}",
                "-rss_limit_mb=0",  # it would count the memory of this process, too
                f"-artifact_prefix={place}/",
            ],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{reader}, files in {place}\n{done.stdout}\n{done.stderr[-8000:]}"
        runs += int(re.search(r"Done (\d+) runs", done.stderr)[1])
        shutil.rmtree(place)
    print(f"{runs} files")
