"""Locks: one holder at a time, none once it is dead, and one training in a workdir."""

import errno
import fcntl
import subprocess
import sys

import pytest

from alexnet_jax import UserError
from alexnet_jax.files import locked
from alexnet_jax.loops.train import train

HOLD = """
import sys, pathlib
from alexnet_jax.files import locked
with locked(pathlib.Path(sys.argv[1]), lambda: sys.exit("busy")):
    print("held", flush=True)
    sys.stdin.read()
"""


class BusyError(Exception):
    pass


def busy():
    raise BusyError


@pytest.fixture
def holder(tmp_path):
    """Another process, that holds the lock of a workdir."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "lock"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_another_process_is_told_and_a_dead_one_holds_nothing(holder, tmp_path):
    with pytest.raises(BusyError), locked(tmp_path / "lock", busy):
        pytest.fail("two hold it")
    holder.kill()
    holder.wait()
    with locked(tmp_path / "lock", busy):
        pass


def test_it_is_waited_for_where_nobody_objects(holder, tmp_path):
    told = []

    def let_go():
        told.append(holder.poll())
        holder.stdin.close()

    with locked(tmp_path / "lock", let_go):
        assert told == [None]
        assert holder.wait(timeout=60) == 0


def test_it_is_given_back_after_an_error(tmp_path):
    with pytest.raises(ValueError, match="inside"), locked(tmp_path / "lock", busy):
        raise ValueError("inside")
    with locked(tmp_path / "lock", busy):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_none_the_worse(tmp_path, monkeypatch, number):
    def no_locks(file, how):
        raise OSError(number, "no locks")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    entered = False
    with locked(tmp_path / "lock", busy):
        entered = True
    assert entered


def test_a_disk_that_fails_is_said(tmp_path, monkeypatch):
    def fails(file, how):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", fails)
    with pytest.raises(OSError, match="Input/output"), locked(tmp_path / "lock", busy):
        pass


def test_a_second_training_in_a_workdir_is_refused_and_writes_nothing(holder, tiny, tmp_path):
    tiny.num_steps = 1
    with pytest.raises(UserError, match=f"another process trains in {tmp_path}: take another --workdir"):
        train(tiny, str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]
    holder.kill()
    holder.wait()
    train(tiny, str(tmp_path))
    assert (tmp_path / "config.json").exists()
