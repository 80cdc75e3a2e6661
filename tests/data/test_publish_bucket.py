"""Published caches in a bucket."""

import importlib.util
import shutil
import signal
import subprocess
import sys
import threading

import pytest

from alexnet_jax import RunError, UserError, prepare
from alexnet_jax.cli.main import main
from alexnet_jax.data import copies
from alexnet_jax.data.cache import load
from alexnet_jax.data.dataset import cache_path, class_count, open_cache
from alexnet_jax.data.publish import publish
from alexnet_jax.files import absolute
from alexnet_jax.remote import bucket as bucket_lib
from alexnet_jax.remote import lease as lease_lib
from alexnet_jax.training import metrics
from tests.conftest import RECIPES, error_lines
from tests.data.test_publish import KILLED, contents

TINY = f"--config={RECIPES / 'tiny.py'}"


@pytest.fixture
def data(tiny, tmp_path):
    tiny.data.cache_dir = str(tmp_path / "first")
    return tiny.data


@pytest.fixture
def published(data, bucket, tmp_path):
    """The directory of the cache in the bucket. Afterwards ``data`` is as on another host."""
    cache = open_cache(data, print).directory
    publish(cache, data, bucket, print)
    data.cache_dir, data.cache_from = str(tmp_path / "second"), bucket
    return absolute(bucket) / cache.name


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(lease_lib, "PERIOD", 0.3)
    monkeypatch.setattr(lease_lib, "RETRY", 0.05)


def names(directory):
    return {file.name for file in directory.iterdir()}


def test_a_host_without_the_photographs_copies_what_was_published_once(tiny, five_classes, bucket, tmp_path):
    tiny.data.source, tiny.data.validation = five_classes, 0.0
    tiny.data.cache_dir, lines = str(tmp_path / "first"), []
    first = prepare(tiny, publish=bucket)
    prepare(tiny, say=lines.append, publish=bucket)
    place = f"{bucket}/{first.directory.name}"
    assert lines == [f"nothing to publish: {place} has this cache already"]
    assert names(absolute(place)) - names(first.directory) == {"published.json"}
    shutil.rmtree(tmp_path / "photographs")
    data = tiny.data
    data.source, data.cache_dir = f"folder:{tmp_path}/elsewhere/photographs", str(tmp_path / "second")
    data.cache_from = bucket
    assert class_count(data) == 5
    assert contents(open_cache(data, print).directory) == contents(first.directory)
    data.source = f"folder:{tmp_path}/elsewhere/others"
    with pytest.raises(UserError, match=r"has no cache of folder:\S+others with these settings"):
        open_cache(data, print)


def killed(verb, data, target):
    args = [sys.executable, "-c", KILLED, verb, str(RECIPES / "tiny.py"), data.cache_dir, target]
    done = subprocess.run(args, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_a_killed_publication_counts_as_missing_and_a_second_call_continues_it(data, bucket, tmp_path):
    cache = open_cache(data, print).directory
    killed("publish", data, bucket)
    assert "copying.json" in names(absolute(bucket) / cache.name)
    data.cache_dir, data.cache_from = str(tmp_path / "second"), bucket
    with pytest.raises(UserError, match="has no cache of"):
        open_cache(data, print)
    lines = []
    publish(cache, data, bucket, lines.append)
    assert lines[-2].startswith("resuming: ")
    assert contents(open_cache(data, print).directory) == contents(cache)


def test_a_killed_copy_is_continued(data, published, bucket):
    killed("fetch", data, bucket)
    assert not cache_path(data).exists()
    lines = []
    open_cache(data, lines.append)
    assert lines[1].startswith("resuming: ")
    load(cache_path(data), whole=True)


def test_of_two_that_publish_other_images_the_second_is_refused(
    tiny, five_classes, bucket, tmp_path, monkeypatch
):
    data, caches = tiny.data, []
    data.source, data.validation = five_classes, 0.0
    image = next(tmp_path.glob("photographs/train/a/*.png"))
    for name in ("first", "second"):
        data.cache_dir = str(tmp_path / name)
        caches.append(open_cache(data, print).directory)
        shutil.copyfile(next(tmp_path.glob("photographs/train/b/*.png")), image)
    copy, waits, started = copies.copy, threading.Event(), threading.Event()

    def slow(*args):
        started.set()
        assert waits.wait(60)
        copy(*args)

    monkeypatch.setattr(copies, "copy", slow)
    first = threading.Thread(target=publish, args=(caches[0], data, bucket, lambda line: None))
    first.start()
    assert started.wait(60)

    def busy(line):
        if line.startswith("another process is publishing in "):
            waits.set()

    with pytest.raises(UserError, match=r"holds other images \(.*\) than the cache"):
        publish(caches[1], data, bucket, busy)
    first.join()
    assert waits.is_set()
    data.cache_dir, data.cache_from = str(tmp_path / "third"), bucket
    assert contents(open_cache(data, print).directory) == contents(caches[0])


def test_a_publication_that_has_lost_its_lock_stays_incomplete(data, bucket, monkeypatch):
    cache = open_cache(data, print).directory

    def lost(lease):
        raise RunError("another process has taken over")

    with monkeypatch.context() as patched:
        patched.setattr(lease_lib.Lease, "check", lost)
        with pytest.raises(RunError, match="has taken over"):
            publish(cache, data, bucket, print)
    assert "published.json" not in names(absolute(bucket) / cache.name)
    publish(cache, data, bucket, print)


def test_a_damaged_cache_leaves_no_whole_object(data, bucket):
    cache = open_cache(data, print).directory
    images = cache / "train-00000.images"
    images.write_bytes(images.read_bytes()[::-1])
    with pytest.raises(UserError, match="wrong checksum"):
        publish(cache, data, bucket, print)
    place = absolute(bucket) / cache.name
    assert "published.json" not in names(place)
    object_ = place / images.name
    assert not object_.exists() or object_.stat().length < images.stat().st_size


def test_a_damaged_object_is_named(data, published):
    content = (published / "data.json").read_bytes()
    (published / "data.json").write_bytes(content[:-1])
    with pytest.raises(UserError, match=r"published cache \S+ is damaged \(data.json "):
        open_cache(data, print)


@pytest.mark.parametrize("verb", ["publish", "fetch"])
def test_an_outage_is_waited_for_once(data, published, bucket, emulator, tmp_path, monkeypatch, verb):
    monkeypatch.setattr(bucket_lib, "LIMIT", 1.0)
    lines = []

    def call():
        if verb == "publish":
            data.cache_dir = str(tmp_path / "first")
            publish(cache_path(data), data, bucket, lines.append)
        else:
            open_cache(data, lines.append)

    emulator.stop()
    try:
        with pytest.raises(RunError, match="has not answered for 1 seconds") as outage:
            call()
    finally:
        emulator.start()
    assert "run the same command again to continue" in str(outage.value)
    assert not any("trying again" in line for line in lines)
    open_cache(data, print)


def test_an_outage_in_the_middle_of_a_copy_ends_in_one_line(data, published, emulator, monkeypatch):
    monkeypatch.setattr(bucket_lib, "LIMIT", 1.0)
    pieces = copies._pieces

    def stopped(source, start, size):
        emulator.stop()
        return pieces(source, start, size)

    with monkeypatch.context() as patched:
        patched.setattr(copies, "THREADS", 1)
        patched.setattr(copies, "_pieces", stopped)
        try:
            with pytest.raises(RunError, match="has not answered"):
                open_cache(data, print)
        finally:
            emulator.start()
    open_cache(data, print)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("gs://no-such-bucket/x", "there is no bucket gs://no-such-bucket"),
        ("gs://needs-credentials/x", "needs credentials"),
        ("gs://forbidden-bucket/x", "refuses access"),
        ("s3://bucket/x", "only gs://BUCKET/DIR is supported"),
    ],
)
def test_a_place_that_cannot_be_used_is_refused_in_one_line(url, message, emulator, trained, tmp_path, capfd):
    cache = f"--config.data.cache_dir={tmp_path / 'cache'}"
    origin = f"--config.data.cache_from={url}"
    for words in (
        ["prepare", TINY, cache, f"--publish={url}"],
        ["prepare", TINY, cache, origin],
        ["train", TINY, cache, origin, f"--workdir={tmp_path / 'run'}"],
        ["evaluate", f"--workdir={trained}", cache, origin],
    ):
        assert main(words) == 2
        (line,) = error_lines(capfd.readouterr().err)
        assert message in line
    assert list(tmp_path.iterdir()) == []


def test_missing_packages_are_named(trained, tmp_path, capfd, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "gcsfs" else find(name))
    cache, origin = f"--config.data.cache_dir={tmp_path / 'cache'}", "--config.data.cache_from=gs://bucket/x"
    for words in (
        ["prepare", TINY, cache, origin],
        ["train", TINY, cache, origin, f"--workdir={tmp_path / 'run'}"],
        ["evaluate", f"--workdir={trained}", cache, origin],
    ):
        assert main(words) == 2
        (line,) = error_lines(capfd.readouterr().err)
        assert "gs://bucket/x needs packages that are not installed: pip install -e '.[gcs]'" in line
    assert list(tmp_path.iterdir()) == []


def test_a_run_in_a_bucket_copies_its_cache_from_a_bucket(published, bucket, tmp_path, capfd):
    cache = f"--config.data.cache_dir={tmp_path / 'third'}"
    origin, workdir = f"--config.data.cache_from={bucket}", f"--workdir={bucket}/run"
    assert main(["train", TINY, cache, origin, workdir, "--config.num_steps=10"]) == 0
    assert f"copying {published} to {tmp_path / 'third'}" in capfd.readouterr().out
    assert metrics.read(absolute(f"{bucket}/run")).train[-1]["step"] == 10
    shutil.rmtree(tmp_path / "third")
    assert main(["evaluate", workdir, cache, origin]) == 0
