"""A fuzzer that is guided by coverage: ``python -m tests.torture.fuzz READER PLACE [FLAGS]``.

It replaces one file of a workdir, a cache or a source, with a right checksum, and calls the function that
reads it, which must return or raise a `UserError`. PLACE has the folders ``workdir`` and ``cache``. The flags
are libFuzzer's, such as ``-max_total_time=60`` (seconds).
"""

import contextlib
import functools
import gzip
import itertools
import json
import os
import re
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import atheris

with atheris.instrument_imports(include=["alexnet_jax"], enable_loader_override=False):
    from alexnet_jax.data import cache, parquet, tfds
    from alexnet_jax.data.images import BadImage
    from alexnet_jax.data.sources import open_source
    from alexnet_jax.files import absolute
    from alexnet_jax.training import goodput, metrics, workdir

from tests import forms
from tests.hostile import check_refusal, forge

MEMORY = 2 * 2**30
"""Bytes that a reader may allocate."""


class Reader(NamedTuple):
    """The content of an intact file, the function that replaces it, and the one that reads it."""

    intact: bytes
    write: Callable[[bytes], object]
    read: Callable[[], object]


def of_runs(place: Path) -> dict[str, Reader]:
    """Return the readers of workdirs and caches by the names of their files."""

    def settings(content):
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            (run / "config.json").write_bytes(content)
        else:
            (run / "config.json").write_bytes(intact)
            if isinstance(found, dict):
                forge(run, found)

    def read_times():
        with contextlib.suppress(ValueError):  # the file is ignored
            goodput.read(absolute(run))

    run, manifest = place / "workdir", place / "cache" / "manifest.json"
    intact = (run / "config.json").read_bytes()
    read_workdir = functools.partial(workdir.read_workdir, run)
    functions = {
        "config.json": (settings, read_workdir),
        "data.json": (lambda content: forge(run, data=content), read_workdir),
        "mean_image.npy": (lambda content: forge(run, mean_image=content), read_workdir),
        "metrics.jsonl": ((run / "metrics.jsonl").write_bytes, lambda: metrics.read(absolute(run))),
        "goodput.json": ((run / "goodput.json").write_bytes, read_times),
    }
    found = {name: Reader((run / name).read_bytes(), *both) for name, both in functions.items()}
    read_cache = functools.partial(cache.load, place / "cache")
    return found | {"manifest.json": Reader(manifest.read_bytes(), manifest.write_bytes, read_cache)}


def of_sources(place: Path) -> dict[str, Reader]:
    """Write small sources, and return their readers by the names of their files."""

    def read(source):
        parquet._reader.cache_clear()
        tfds._open.cache_clear()
        for split in open_source(source, None, 0.1).splits.values():
            for i in range(min(len(split), 20)):
                with contextlib.suppress(BadImage):
                    split[i].content()

    def reader(source, name, compressed=False):
        path = place / name
        content = gzip.decompress(path.read_bytes()) if compressed else path.read_bytes()
        write = (lambda new: path.write_bytes(gzip.compress(new, 0))) if compressed else path.write_bytes
        return Reader(content, write, functools.partial(read, source))

    photos = forms.photographs(train=2, validation=1, contents=(b"%09d" % i for i in itertools.count()))
    samples = [
        (f"{i}.{ending}", content)
        for i, (label, _, image) in enumerate(photos["train"])
        for ending, content in (("jpg", image), ("json", b'{"label": "%s"}' % label.encode()))
    ]
    (place / "samples.tar").write_bytes(forms.tar(samples))
    ilsvrc2012 = forms.archives(photos, place / "archives")
    parquet_files = forms.table(photos, place / "tables")
    csv = forms.listed(photos, place / "images")
    os.environ["TFDS_DATA_DIR"] = str(place)
    data_set = forms.prepared(photos, place)
    folder = "photographs/1.0.0"
    found = {
        "samples.tar": reader(f"webdataset:{place}/samples.tar", "samples.tar"),
        "train.tar": reader(ilsvrc2012, "archives/ILSVRC2012_img_train.tar"),
        "val.tar": reader(ilsvrc2012, "archives/ILSVRC2012_img_val.tar"),
        "devkit.tar": reader(ilsvrc2012, "archives/ILSVRC2012_devkit_t12.tar.gz", compressed=True),
        "train.parquet": reader(parquet_files, "tables/train-00000-of-00002.parquet"),
        "list.csv": reader(csv, "images/list.csv"),
        "dataset_info.json": reader(data_set, f"{folder}/dataset_info.json"),
        "features.json": reader(data_set, f"{folder}/features.json"),
        "train.array_record": reader(data_set, f"{folder}/photographs-train.array_record-00000-of-00001"),
    }
    data_set = forms.prepared(photos, place, "tfrecord", name="records")
    file = "records/1.0.0/records-train.tfrecord-00000-of-00001"
    return found | {"train.tfrecord": reader(data_set, file)}


def main() -> None:
    program, name, place, *flags = sys.argv
    group = of_runs if name in ("manifest.json", *os.listdir(Path(place) / "workdir")) else of_sources  # noqa: PTH208
    reader = group(Path(place))[name]
    corpus = Path(place) / "corpus"
    corpus.mkdir(exist_ok=True)
    (corpus / "intact").write_bytes(reader.intact)
    reader.write(reader.intact)
    reader.read()  # it imports libraries

    def once(content: bytes) -> None:
        reader.write(content)
        check_refusal(reader.read)

    taken = 1024 * int(re.search(r"VmData:\s*(\d+)", Path("/proc/self/status").read_text())[1])
    resource.setrlimit(resource.RLIMIT_DATA, (taken + MEMORY, taken + MEMORY))
    atheris.Setup([program, str(corpus), *flags], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
