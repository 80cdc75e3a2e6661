"""Locks in buckets."""

import contextlib
import time

import pytest

from alexnet_jax import RunError
from alexnet_jax.files import absolute
from alexnet_jax.remote import lease as lease_lib
from alexnet_jax.remote.lease import Lease, held


class Busy(Exception):
    pass


def busy(holder):
    raise Busy(holder)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(lease_lib, "PERIOD", 0.3)
    monkeypatch.setattr(lease_lib, "RETRY", 0.05)


@pytest.fixture
def lock(bucket):
    return absolute(bucket) / "lock"


def test_a_lock_is_taken_at_once_and_deleted_at_the_end(lock):
    with held(lock, busy, print) as lease:
        lease.check()
        assert lock.exists()
    assert not lock.exists()


def test_a_lock_that_is_renewed_is_busy(lock, capfd):
    with held(lock, busy, print) as first:
        with pytest.raises(Busy, match=r"process \d+ on "), held(lock, busy, print):
            pass
        first.check()
    assert "to see whether it is alive" in capfd.readouterr().out
    with held(lock, busy, print):
        pass


def test_of_two_that_see_a_free_lock_only_one_takes_it(lock):
    leases = [Lease(lock) for _ in range(2)]
    read = [lease._store.read(lease._key).result() for lease in leases]
    assert [found.state for found in read] == ["missing", "missing"]
    assert [lease._take(b"\x02") for lease in leases] == [True, False]
    leases[0].release()


def test_a_lock_that_is_not_renewed_is_taken_over_and_its_holder_ends(lock, capfd, monkeypatch):
    killed = Lease(lock)
    monkeypatch.setattr(killed._renewing, "start", lambda: None)
    monkeypatch.setattr(killed._renewing, "join", lambda: None)
    assert killed.take(busy, print)
    began = time.monotonic()
    with held(lock, busy, print) as other:
        assert time.monotonic() - began > 0.9
        assert "waiting up to 1 seconds" in capfd.readouterr().out
        with pytest.raises(RunError, match="has taken over"):
            killed.check()
        killed.release()  # leaves the other's lock alone
        other.check()
        assert lock.exists()
    assert not lock.exists()


def test_a_holder_whose_renewal_was_not_answered_keeps_its_lock(lock):
    with held(lock, busy, print) as lease:
        lease._ended.set()
        lease._renewing.join()
        before = lease._mine
        assert lease._write(before)
        lease._mine = before  # as if the answer had been lost
        assert lease._write(before)
        assert lease._mine != before
    assert not lock.exists()


def test_a_lock_with_any_content_is_free_after_a_while(lock):
    lock.write_bytes(b"\xff{")
    with contextlib.closing(contextlib.ExitStack()) as stack:
        stack.enter_context(held(lock, busy, print))
    assert not lock.exists()


def test_a_bucket_that_does_not_exist_is_a_run_error(emulator):
    with (
        pytest.raises(RunError, match="the lock gs://no-such-bucket/lock can't be taken"),
        held(absolute("gs://no-such-bucket/lock"), busy, print),
    ):
        pass
