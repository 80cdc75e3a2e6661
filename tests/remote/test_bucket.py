"""Requests to a bucket that does not answer are repeated for a limited time."""

import errno
import gc
import sys
import threading

import pytest

from alexnet_jax import files
from alexnet_jax.files import absolute
from alexnet_jax.remote import bucket as bucket_lib


def test_objects_are_written_read_listed_renamed_and_deleted(bucket):
    path = absolute(bucket)
    assert not path.exists()
    files.write(path / "a" / "x", b"1")
    files.write(path / "a" / "y", b"")
    assert path.is_dir()
    assert sorted(each.name for each in (path / "a").iterdir()) == ["x", "y"]
    assert files.read(path / "a" / "x", 1) == b"1"
    with pytest.raises(ValueError, match="x has more than 0 bytes"):
        files.read(path / "a" / "x", 0)
    (path / "a").rename(path / "b")
    assert sorted(str(each) for each in (path / "b").iterdir()) == [f"{bucket}/b/x", f"{bucket}/b/y"]
    path.rmtree()
    assert not path.exists()


def test_sizes_come_from_one_listing_of_any_length(bucket, monkeypatch):
    path, requests = absolute(bucket) / "many", []
    for i in range(3):
        files.write(path / str(i), bytes(i))
    request = bucket_lib.FileSystem._request

    async def recorded(*args, **options):
        requests.append(args[1:])
        return await request(*args, **options)

    monkeypatch.setattr(bucket_lib.FileSystem, "_request", recorded)
    assert bucket_lib.sizes(path) == {"0": 0, "1": 1, "2": 2}
    assert len(requests) == 1
    assert bucket_lib.sizes(path / "absent") == {}


def test_an_object_is_replaced_only_in_the_version_that_is_known(bucket):
    path = absolute(bucket) / "x#%"
    first = bucket_lib.replace(path, b"1", bucket_lib.generation(path))
    assert first == bucket_lib.generation(path)
    assert bucket_lib.replace(path, b"2", bucket_lib.ABSENT) is None
    assert path.read_bytes() == b"1"
    large = bytes(2**21)
    assert bucket_lib.replace(path, large, first) not in (None, first)
    assert bucket_lib.replace(path, b"3", first) is None
    assert path.read_bytes() == large


def test_a_buffer_is_collected_in_silence_after_an_outage(bucket, emulator, monkeypatch):
    monkeypatch.setattr(bucket_lib, "LIMIT", 0.1)
    assert not absolute(bucket).exists()

    def write():
        with (absolute(bucket) / "x").open("wb") as file:
            file.write(b"1")
            emulator.stop()

    try:
        with pytest.raises(OSError, match="has not answered"):
            write()
    finally:
        emulator.start()
    ignored = []
    monkeypatch.setattr(sys, "unraisablehook", ignored.append)
    gc.collect()
    assert ignored == []


def test_a_missing_object_is_not_an_outage(bucket):
    with pytest.raises(FileNotFoundError) as missing:
        files.read(absolute(bucket) / "x", 10)
    assert not bucket_lib.is_outage(missing.value)


def test_an_outage_is_waited_for_and_reported_once(emulator, bucket, capfd):
    path = absolute(bucket) / "x"
    files.write(path, b"1")
    emulator.stop()
    again = threading.Timer(2.5, emulator.start)
    again.start()
    assert path.read_bytes() == b"1"
    again.join()
    assert capfd.readouterr().err.count("does not answer") == 1


def test_a_long_outage_ends_in_one_line(emulator, monkeypatch, capfd):
    monkeypatch.setattr(bucket_lib, "LIMIT", 1.5)
    with pytest.raises(OSError, match="gs://overloaded-bucket has not answered for 2 seconds") as outage:
        files.write(absolute("gs://overloaded-bucket/x"), b"1")
    assert bucket_lib.is_outage(outage.value)
    assert not bucket_lib.is_outage(OSError(errno.EIO, "Input/output error"))
    assert capfd.readouterr().err == (
        "alexnet-jax: note: gs://overloaded-bucket does not answer (try again, 503): trying again for 2"
        " seconds\n"
    )
