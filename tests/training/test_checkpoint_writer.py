"""The last few checkpoints and the best are kept; a run resumes from the last one that is intact."""

import errno
import logging
import os
import threading
from functools import partial
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from absl import logging as absl_logging

from alexnet_jax import UserError, build
from alexnet_jax.errors import RunError
from alexnet_jax.files import absolute
from alexnet_jax.parallel import hosts
from alexnet_jax.parallel.mesh import make_mesh
from alexnet_jax.training import record
from alexnet_jax.training.checkpoint import Checkpoints
from alexnet_jax.training.checkpoint_writer import CheckpointWriter
from alexnet_jax.training.optimizer import OPTIMIZERS
from alexnet_jax.training.schedule import Plateau
from alexnet_jax.training.state import abstract_state
from alexnet_jax.training.tally import Tally
from tests.training.conftest import changed, damage


def test_the_last_few_and_the_best_are_kept(saved):
    with Checkpoints(saved[0]) as checkpoints:
        assert checkpoints.steps() == [5, 6, 7]


def test_the_restored_state_is_the_saved_one(copy):
    workdir, state = copy
    with CheckpointWriter(workdir, keep=2) as checkpoints:
        step, restored, plateau, tally = checkpoints.restore_last(state, pytest.fail)
    assert (step, int(restored.step), plateau) == (7, 7, Plateau(reductions=7))
    assert tally == Tally(updates=7, loss=0.7)
    for ours, theirs in zip(jax.tree.leaves(restored), jax.tree.leaves(changed(state, 7)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_new_workdir_has_no_checkpoint(tmp_path, saved):
    with CheckpointWriter(absolute(tmp_path), keep=1) as checkpoints:
        assert checkpoints.restore_last(saved[1], pytest.fail) is None
        assert checkpoints.best() is None


@pytest.mark.parametrize("how", ["flip", "cut", "remove", "host"])
def test_training_resumes_from_the_checkpoint_before_a_damaged_one(copy, how, capfd):
    workdir, state = copy
    damage(workdir / "checkpoints" / "7", how)
    said = []
    with CheckpointWriter(workdir, keep=2) as checkpoints:
        step, restored, *_ = checkpoints.restore_last(state, said.append)
        assert checkpoints.steps() == [5, 6]
        checkpoints.save(7, changed(state, 7), Plateau(), None, Tally())  # the run gets there again
    assert (workdir / "checkpoints" / "7.damaged").exists()
    assert step == 6
    np.testing.assert_array_equal(restored.params["fc8"]["bias"], state.params["fc8"]["bias"] + 6)
    assert len(said) == 1
    assert said[0].startswith("checkpoint 7 is damaged and skipped (")
    assert "Traceback" not in capfd.readouterr().err


def test_training_ends_if_every_checkpoint_is_damaged(copy):
    workdir, state = copy
    for step in (5, 6, 7):
        damage(workdir / "checkpoints" / str(step), "cut")
    with CheckpointWriter(workdir, keep=2) as checkpoints, pytest.raises(RunError, match="no checkpoint in"):
        checkpoints.restore_last(state, lambda _: None)
    assert len(list((workdir / "checkpoints").iterdir())) == 3


def test_another_format_is_refused_and_nothing_is_set_aside(copy, monkeypatch):
    monkeypatch.setattr(record, "FORMAT", record.FORMAT + 1)
    refused(*copy, "checkpoint 7 in .* has format 4, but this alexnet-jax reads format 5")


def test_another_optimizers_state_is_refused_and_nothing_is_set_aside(copy, tiny, monkeypatch):
    def adam(config, decay, by_rates):
        return optax.chain(optax.scale_by_adam(), decay, by_rates)

    monkeypatch.setitem(OPTIMIZERS, "adam", adam)
    tiny.optimizer.name = "adam"
    state = abstract_state(build(tiny), tiny, make_mesh(1, 1))
    message = "checkpoint 7 in .* was written with another optimizer .*: train with that optimizer"
    refused(copy[0], state, message)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_device_without_memory_sets_no_checkpoint_aside(copy, saved, monkeypatch, wrapped):
    def read(self, step, **items):
        if "params" in items:
            error = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 4096 bytes.")
            if wrapped:
                raise ValueError("the restoration failed") from error
            raise error
        return real(self, step, **items)

    workdir, state = copy
    real = Checkpoints._read
    monkeypatch.setattr(Checkpoints, "_read", read)
    with CheckpointWriter(workdir, keep=2) as checkpoints:
        with pytest.raises(ValueError if wrapped else jax.errors.JaxRuntimeError):
            checkpoints.restore_last(state, pytest.fail)
        assert checkpoints.steps() == [5, 6, 7]
    with Checkpoints(workdir) as reader, pytest.raises(Exception, match=r"fail|RESOURCE_EXHAUSTED"):
        reader.restore_params("last", saved[2], make_mesh(1, 1))
    assert sorted(path.name for path in (workdir / "checkpoints").iterdir()) == ["5", "6", "7"]


def test_too_many_open_files_set_no_checkpoint_aside(copy, saved, monkeypatch):
    def read(self, step, **items):
        if "params" in items:
            raise ValueError("the restoration failed") from OSError(errno.EMFILE, "Too many open files")
        return real(self, step, **items)

    workdir, state = copy
    real = Checkpoints._read
    monkeypatch.setattr(Checkpoints, "_read", read)
    message = "checkpoints can't be read .Too many open files.: run the same command again"
    with CheckpointWriter(workdir, keep=2) as checkpoints, pytest.raises(RunError, match=message):
        checkpoints.restore_last(state, pytest.fail)
    with Checkpoints(workdir) as reader, pytest.raises(RunError, match=message):
        reader.restore_params("last", saved[2], make_mesh(1, 1))
    with CheckpointWriter(workdir, keep=2) as checkpoints:
        checkpoints.save(8, changed(state, 8), Plateau(), None, Tally())
        with pytest.raises(RunError, match=f"^[^(]*{message}"):
            checkpoints.wait()
    assert sorted(path.name for path in (workdir / "checkpoints").iterdir()) == ["5", "6", "7", "8"]


def refused(workdir, state, message):
    with CheckpointWriter(workdir, keep=2) as checkpoints:
        with pytest.raises(UserError, match=message):
            checkpoints.restore_last(state, pytest.fail)
        assert checkpoints.steps() == [5, 6, 7]


def test_a_run_resumes_with_another_weight_decay(copy, tiny):
    tiny.optimizer.weight_decay = 0.0
    with CheckpointWriter(copy[0], keep=2) as checkpoints:
        step, *_ = checkpoints.restore_last(abstract_state(build(tiny), tiny, make_mesh(1, 1)), pytest.fail)
    assert step == 7


def test_the_processes_compare_the_errors_that_they_read(copy, monkeypatch):
    """If they differed, the processes would disagree on the best one, on which to delete and when to save."""
    compared = {}
    monkeypatch.setattr(hosts, "same", compared.update)
    with CheckpointWriter(copy[0], keep=2) as checkpoints:
        checkpoints.restore_last(copy[1], pytest.fail)
    assert compared["the checkpoints' errors"] == {5: 0.3, 6: None, 7: 0.9}


def damaging(monkeypatch, *steps):
    """Damage the checkpoints of these steps after they were written and before they are read back."""
    verify = Checkpoints.verify

    def damage_and_verify(self, step, record, **shapes):
        if step in steps:
            damage(self.directory / str(step), "flip")
        verify(self, step, record, **shapes)

    monkeypatch.setattr(Checkpoints, "verify", damage_and_verify)


def names(workdir):
    return sorted(path.name for path in (workdir / "checkpoints").iterdir())


def test_the_older_checkpoints_stay_until_the_newest_is_read_back(copy, monkeypatch):
    workdir, state = copy
    reads = threading.Event()
    verify = Checkpoints.verify
    monkeypatch.setattr(Checkpoints, "verify", lambda *a, **b: (reads.wait(60), verify(*a, **b)))
    with CheckpointWriter(workdir, keep=1) as checkpoints:
        checkpoints.save(8, changed(state, 8), Plateau(), 0.8, Tally())
        checkpoints._manager.wait_until_finished()
        assert names(workdir) == ["5", "6", "7", "8"]
        reads.set()
        checkpoints.wait()
        assert checkpoints.steps() == [5, 8]
    assert names(workdir) == ["5", "8"]


def test_a_checkpoint_that_is_damaged_on_the_disk_is_set_aside_and_the_run_goes_on(copy, monkeypatch, capfd):
    workdir, state = copy
    damaging(monkeypatch, 8)
    with CheckpointWriter(workdir, keep=1) as checkpoints:
        checkpoints.save(8, changed(state, 8), Plateau(), 0.1, Tally())
        checkpoints.save(9, changed(state, 9), Plateau(), None, Tally())
        assert checkpoints.steps() == [5, 6, 7, 9]
        assert checkpoints.best() == (5, 0.3)
    assert names(workdir) == ["5", "8.damaged", "9"]
    printed = capfd.readouterr()
    assert printed.out.startswith("checkpoint 8 is damaged and set aside as 8.damaged (")
    assert (len(printed.out.splitlines()), printed.err) == (1, "")


@pytest.mark.parametrize("last", [8, 9])
def test_a_run_ends_if_its_last_checkpoint_or_two_in_turn_are_damaged(copy, monkeypatch, capfd, last):
    damaging(monkeypatch, 8, 9)
    message = f"checkpoint {last} is damaged and set aside as {last}.damaged .*run the same command again"
    with pytest.raises(RunError, match=message):
        save(copy, *((8, 9, 10) if last == 9 else (8,)))
    with Checkpoints(copy[0]) as left:
        assert left.steps() == [5, 6, 7]
    assert "Traceback" not in capfd.readouterr().err


def save(copy, *steps):
    workdir, state = copy
    with CheckpointWriter(workdir, keep=1) as checkpoints:
        for step in steps:
            checkpoints.save(step, changed(state, step), Plateau(), None, Tally())


def test_a_damaged_checkpoint_is_reported_with_the_warning_of_orbax(copy, monkeypatch, caplog, request):
    """The command line hides all warnings of libraries."""
    logger = logging.getLogger("absl")
    request.addfinalizer(partial(absl_logging.set_verbosity, absl_logging.get_verbosity()))
    absl_logging.set_verbosity(absl_logging.FATAL)

    def warn_and_fail(*_, **__):
        place = "absl", logging.WARNING, "/orbax/checkpoint.py", 1
        logger.handle(logger.makeRecord(*place, "no room for %d", (8,), None))
        raise ValueError("torn")

    monkeypatch.setattr(Checkpoints, "verify", warn_and_fail)
    with pytest.raises(RunError, match=r"damaged .* \(torn; Orbax warned: no room for 8\)"):
        save(copy, 8)
    assert not caplog.records


def test_what_a_killed_run_was_deleting_is_deleted(copy):
    (copy[0] / "checkpoints" / "5").rename(copy[0] / "checkpoints" / "5.deleted")
    with CheckpointWriter(copy[0], keep=2) as checkpoints:
        assert checkpoints.steps() == [6, 7]
    assert names(copy[0]) == ["6", "7"]


def test_a_checkpoint_is_on_the_disk_before_older_ones_are_deleted(copy, monkeypatch):
    """Orbax syncs the arrays, but neither the records nor the names of the folders."""
    workdir, state = copy
    done, fsync, delete = [], os.fsync, CheckpointWriter._delete_old
    monkeypatch.setattr(os, "fsync", lambda fd: (fsync(fd), done.append(os.fstat(fd).st_ino)))
    monkeypatch.setattr(CheckpointWriter, "_delete_old", lambda self: (done.append("delete"), delete(self)))
    with CheckpointWriter(workdir, keep=1) as checkpoints:
        checkpoints.save(8, changed(state, 8), Plateau(), None, Tally())
    path = Path(workdir / "checkpoints")
    synced = done[: done.index("delete")]
    assert {each.stat().st_ino for each in [path, path / "8", *(path / "8").rglob("*")]} <= {*synced}


def test_a_process_that_has_ended_is_not_reported_as_a_full_disk(copy, monkeypatch):
    def gone(mine):
        raise ConnectionError("another process is gone")

    workdir, state = copy
    with CheckpointWriter(workdir, keep=1) as checkpoints:
        checkpoints.save(8, changed(state, 8), Plateau(), None, Tally())
        with monkeypatch.context() as patch:
            patch.setattr(hosts, "all_true", gone)
            with pytest.raises(ConnectionError):
                checkpoints.wait()
