"""Paths, files that are replaced in one step, and locks that are released when their holder ends."""

import errno
import fcntl
import os
import subprocess
import sys

import pytest
from etils import epath

from alexnet_jax.files import absolute, is_remote, locked, write

HOLD = """
import sys, pathlib
from alexnet_jax.files import locked
with locked(pathlib.Path(sys.argv[1]), lambda: sys.exit("busy")):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_path_is_absolute_and_its_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    (tmp_path / "link").symlink_to("/")
    for path, expected in [
        ("a/../b", f"{tmp_path}/b"),
        ("gs://bucket/a", "gs://bucket/a"),
        ("~/a", "/home/me/a"),
        ("~no-such-user/a", f"{tmp_path}/~no-such-user/a"),
        ("link/a", f"{tmp_path}/link/a"),
    ]:
        assert str(absolute(path)) == expected


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path, monkeypatch):
    write(os.fspath(tmp_path / "file"), b"old")
    write_bytes = type(epath.Path("/")).write_bytes

    def full(self, content):
        write_bytes(self, content[:1])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(type(epath.Path("/")), "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "file", b"new")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("file", b"old")]


class BusyError(Exception):
    pass


def busy():
    raise BusyError


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of a workdir."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "lock"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_lock_excludes_other_processes_until_its_holder_dies(holder, tmp_path):
    with pytest.raises(BusyError), locked(tmp_path / "lock", busy):
        pytest.fail("two processes hold the lock")
    holder.kill()
    holder.wait()
    with locked(tmp_path / "lock", busy):
        pass


def test_locked_waits_for_the_holder_unless_busy_raises(holder, tmp_path):
    calls = []

    def let_go():
        calls.append(holder.poll())
        holder.stdin.close()

    with locked(tmp_path / "lock", let_go):
        assert calls == [None]
        assert holder.wait(timeout=60) == 0


def test_a_lock_is_released_after_an_error(tmp_path):
    with pytest.raises(ValueError, match="inside"), locked(tmp_path / "lock", busy):
        raise ValueError("inside")
    with locked(tmp_path / "lock", busy):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_accepted(tmp_path, monkeypatch, number):
    def no_locks(file, how):
        raise OSError(number, "no locks")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    entered = False
    with locked(tmp_path / "lock", busy):
        entered = True
    assert entered


def test_a_failing_disk_raises(tmp_path, monkeypatch):
    def fails(file, how):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", fails)
    with pytest.raises(OSError, match="Input/output"), locked(tmp_path / "lock", busy):
        pass


def test_buckets_have_no_locks(tmp_path):
    lock = absolute("gs://bucket/run/lock")
    assert is_remote(lock)
    assert not is_remote(tmp_path)
    entered = False
    with locked(lock, busy):
        entered = True
    assert entered
