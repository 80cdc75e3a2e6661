"""Paths, files that are replaced in one step, and locks that are released when their holder ends."""

import errno
import fcntl
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from alexnet_jax import UserError
from alexnet_jax.files import (
    absolute,
    check_inside,
    check_writable,
    checked,
    delete_unfinished,
    failure,
    is_remote,
    locked,
    open_append,
    read,
    write,
)

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

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "file", b"new")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("file", b"old")]


def test_a_file_is_on_the_disk_before_it_gets_its_name_and_the_name_after_it(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(
        os, "fsync", lambda fd: (fsync(fd), done.append(Path(f"/proc/self/fd/{fd}").readlink()))
    )
    monkeypatch.setattr(Path, "replace", lambda a, b: (replace(a, b), done.append("replaced")))
    write(tmp_path / "file", b"new")
    written, *then = done
    assert (written.parent, then) == (tmp_path, ["replaced", tmp_path])


def test_a_killed_process_leaves_the_old_file_and_a_rest_that_is_deleted(tmp_path):
    write(tmp_path / "file", b"old")
    script = (
        "import os, sys\nfrom alexnet_jax.files import write\n"
        "os.fsync = lambda _: os.kill(os.getpid(), 9)\nwrite(sys.argv[1], b'new')"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path / "file"], check=False)
    assert (tmp_path / "file").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 2
    delete_unfinished(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_nothing_is_written_through_a_link(tmp_path):
    (tmp_path / "mine").write_text("mine")
    for name in ("lock", "log", "file"):
        (tmp_path / name).symlink_to("mine")
    with pytest.raises(UserError, match=f"{tmp_path}/lock is a symbolic link to mine"):
        locked(tmp_path / "lock", busy).__enter__()
    with pytest.raises(UserError, match=f"{tmp_path}/log is a symbolic link to mine"):
        open_append(tmp_path / "log")
    write(tmp_path / "file", b"new")
    assert (tmp_path / "mine").read_text() == "mine"
    assert (tmp_path / "file").read_text() == "new"


def test_an_open_file_of_the_process_is_not_replaced(tmp_path):
    """As in ``--json=/dev/stdout >FILE``."""
    message = "it is an open file of this process"
    with (tmp_path / "out.txt").open("w") as file:
        for folder in ("/dev/fd", "/proc/self/fd", "/proc/thread-self/fd"):
            with pytest.raises(OSError, match=message):
                check_writable(f"{folder}/{file.fileno()}", as_json=True)


def test_a_link_in_a_folder_of_dev_is_not_an_open_file():
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        (Path(folder) / "file").touch()
        (Path(folder) / "link").symlink_to("file")
        check_writable(f"{folder}/link", as_json=True)


def test_a_pipe_is_written_only_as_json(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    check_writable(tmp_path / "pipe", as_json=True)
    with pytest.raises(OSError, match="it is a pipe or a device"):
        check_writable(tmp_path / "pipe", as_json=False)


def test_a_name_that_is_too_long_is_refused_if_pathlib_hides_the_error(tmp_path, monkeypatch):
    """As from Python 3.14 on."""
    for name, hidden in (
        ("exists", os.path.exists),
        ("is_file", os.path.isfile),
        ("is_symlink", os.path.islink),
    ):
        monkeypatch.setattr(Path, name, lambda path, hidden=hidden: hidden(path))
    with pytest.raises(OSError, match="File name too long"):
        check_writable(tmp_path / ("n" * 256), as_json=True)


def test_a_lock_does_not_empty_its_file(tmp_path):
    (tmp_path / "lock").write_text("text")
    with locked(tmp_path / "lock", busy):
        pass
    assert (tmp_path / "lock").read_text() == "text"


def test_a_line_is_appended(tmp_path):
    for line in ("a", "é"):
        with open_append(tmp_path / "log") as file:
            file.write(f"{line}\n".encode())
    assert (tmp_path / "log").read_text(encoding="utf-8") == "a\né\n"


@pytest.mark.parametrize("name", ["link", "a/link", "a/b/pipe"])
def test_a_directory_with_a_link_or_a_pipe_is_refused(tmp_path, name):
    (tmp_path / "w" / "a" / "b").mkdir(parents=True)
    (tmp_path / "w" / "a" / "file").write_text("")
    (tmp_path / "to_w").symlink_to("w")
    for each in ("w", "to_w", "missing"):
        check_inside(tmp_path / each)
    if name.endswith("pipe"):
        os.mkfifo(tmp_path / "w" / name)
    else:
        (tmp_path / "w" / name).symlink_to("/tmp")
    what = "neither a file nor a folder" if name.endswith("pipe") else "a symbolic link to /tmp"
    for each in ("w", "to_w"):
        with pytest.raises(UserError, match=f"{tmp_path}/{each}/{name} is {what}, .*: remove it"):
            check_inside(tmp_path / each)


def test_only_regular_files_of_a_limited_size_are_read(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    assert read(tmp_path / "file", 3) == b"abc"
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(10**10)
    os.mkfifo(tmp_path / "pipe")
    for name, message in [
        ("huge", "huge has 10,000,000,000 bytes, more than 3"),
        ("pipe", "pipe is not a regular file"),
        (".", "is not a regular file"),
    ]:
        with pytest.raises(ValueError, match=message):
            read(tmp_path / name, 3)
    with pytest.raises(ValueError, match="file has a wrong checksum"):
        checked(tmp_path / "file", 3, {"file": 0})


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


def test_only_paths_in_buckets_are_remote(tmp_path):
    assert is_remote(absolute("gs://bucket/run/lock"))
    assert not is_remote(tmp_path)


def test_a_folder_with_the_name_of_an_unfinished_file_stays(tmp_path):
    (tmp_path / ".a.writing").mkdir()
    delete_unfinished(tmp_path)
    assert (tmp_path / ".a.writing").is_dir()


def test_an_error_of_the_system_does_not_blame_the_file():
    assert failure(OSError(errno.EMFILE, "x")) == "Too many open files"
    assert failure(OSError(errno.ENOENT, "x")) is None
    assert failure(OSError(errno.EIO, "x")) is None
    assert failure(ValueError("torn")) is None
    assert failure(MemoryError()) == "too little memory"
    tensorstore = "Error writing local file: Failed to write 3 bytes: No space [os_error_code='28']"
    assert failure(ValueError(tensorstore)) == "No space left on device"
    caused = ValueError("the restoration failed")
    caused.__cause__ = PermissionError(errno.EACCES, "x")
    assert failure(caused) == "Permission denied"


def test_an_error_of_a_write_names_the_file(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        write(tmp_path / "gone" / "a.json", b"")
    assert error.value.filename == str(tmp_path / "gone" / "a.json")
