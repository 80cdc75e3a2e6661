"""Files that grow, on a disk and in a bucket."""

import pytest

from alexnet_jax import RunError
from alexnet_jax.files import absolute
from alexnet_jax.remote import bucket as bucket_lib
from alexnet_jax.training import appended
from tests.training.test_log import opened


def test_on_a_disk_bytes_are_appended_at_once(tmp_path):
    path = absolute(tmp_path / "x")
    for content in (b"1\n", b"", b"2\n"):
        file = appended.Appended(path)
        file.append(content)
        file.sync()
    assert path.read_bytes() == b"1\n2\n"


def test_lines_are_in_the_bucket_every_period_and_before_each_checkpoint(bucket, monkeypatch):
    monkeypatch.setattr(appended, "PERIOD", 3600)
    path = absolute(bucket) / "x"
    file = appended.Appended(path)
    file.append(b"1\n")  # the first one is written at once
    file.append(b"2\n")
    file.sync()
    assert path.read_bytes() == b"1\n2\n"
    file.append(b"3\n")
    assert path.read_bytes() == b"1\n2\n"
    monkeypatch.setattr(file, "_next", 0)
    file.append(b"4\n")
    file.append(b"5\n")
    file.close()
    assert path.read_bytes() == b"1\n2\n3\n4\n5\n"
    again = appended.Appended(path)
    again.append(b"6\n")
    again.close()
    assert path.read_bytes() == b"1\n2\n3\n4\n5\n6\n"


def test_a_delayed_write_does_not_replace_the_lines_of_the_next_owner(bucket):
    lost = []

    def check():
        if lost:
            raise RunError("another run has taken over")

    path = absolute(bucket) / "x"
    before = appended.Appended(path, check)
    before.append(b"1\n")
    before.sync()
    after = appended.Appended(path)
    after.append(b"2\n")
    after.close()
    lost.append(True)
    with pytest.raises(RunError, match="has taken over"):
        before._write(b"1\nlate\n")  # it was begun before the lock was lost
    assert path.read_bytes() == b"1\n2\n"


def test_a_write_whose_answer_was_lost_is_repeated(bucket):
    path = absolute(bucket) / "x"
    file = appended.Appended(path)
    file.append(b"1\n")
    file.sync()
    assert bucket_lib.replace(path, b"1\n2\n", file._version)
    file.append(b"2\n")
    file.close()
    assert path.read_bytes() == b"1\n2\n"


def test_a_failed_write_in_the_background_is_seen(emulator, monkeypatch):
    monkeypatch.setattr(bucket_lib, "LIMIT", 0.5)
    log = opened(absolute("gs://no-such-bucket/run"))
    log.train(10, 2.0, 0.5, 0.1, 1.0)
    log.sync()
    assert "metrics.jsonl can't be written" in log.failure
    log.close()
