"""What a run spends its time on, with a simulated clock and device, and the file that adds up all runs."""

import concurrent.futures
import json
import os
import random
import threading

import pytest
from etils import epath
from hypothesis import given
from hypothesis import strategies as st

from alexnet_jax import files
from alexnet_jax.training import goodput
from alexnet_jax.training.goodput import Goodput
from tests.hostile import READ_ONLY, hostile


class Clock:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self):
        return self.now


class Done:
    """The future time at which the simulated device has computed an update."""

    def __init__(self, clock, at):
        self.clock, self.at = clock, at

    def done(self):
        return self.clock.now >= self.at

    def result(self):
        return self.at


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def run(clock):
    """A run whose updates are given by the time at which they are done."""
    return Goodput(clock, lambda at: Done(clock, at))


def arriving(clock, *times):
    """Yield a batch at each time, or at once if the loop asks for it later."""
    for time in times:
        clock.now = max(clock.now, time)
        yield time


def seconds(run, path):
    """Return the seconds that a run writes, of each kind that has any."""
    run.open(epath.Path(path), lambda: None)
    run.save()
    return {kind: time for kind, time in goodput.read(epath.Path(path)).items() if time}


def test_the_time_of_each_kind_counts_once(run, clock, tmp_path):
    def compute(_):
        clock.now += 60
        return 100.0

    update = run.compiling(compute)
    predict = run.compiling(compute)
    clock.now = 3
    with run.during("preparing"):
        clock.now = 10
    clock.now = 20
    for _ in run.batches(arriving(clock, 25, 0, 0)):
        run.dispatched(update(None))
        with run.during("evaluating"):
            predict(None)
            clock.now += 4
        with run.during("saving"):
            clock.now += 2
    clock.now += 5
    assert seconds(run, tmp_path) == {
        "starting": 13,
        "preparing": 7,
        "data": 5,
        "compiling": 120,
        "steps": 120,
        "evaluating": 132,
        "saving": 11,
    }


@pytest.mark.parametrize(
    ("done", "asked", "arrives", "data"),
    [
        (10, 1, 9, 0),  # hidden behind the update
        (10, 1, 15, 5),  # in part
        (10, 12, 15, 3),  # not hidden
        (10, 20, 15, 0),  # it is there
    ],
)
def test_a_wait_counts_as_far_as_the_device_has_nothing_to_do(
    run, clock, tmp_path, done, asked, arrives, data
):
    for batch in run.batches(arriving(clock, 0, arrives)):
        if batch == 0:
            run.dispatched(done)
            clock.now = asked
    found = seconds(run, tmp_path)
    assert (found.get("data", 0), sum(found.values())) == (data, max(asked, arrives))
    assert found.keys() <= {"data", "steps"}


def test_a_thread_notes_when_an_update_is_done(clock, tmp_path):
    run, computed = Goodput(clock), threading.Event()

    class Metrics:
        def block_until_ready(self):
            assert computed.wait(60)

    def batches():
        yield 1
        clock.now = 2
        computed.set()
        concurrent.futures.wait([run._done])
        clock.now = 5
        yield 2

    for batch in run.batches(batches()):
        if batch == 1:
            run.dispatched(Metrics())
    assert seconds(run, tmp_path) == {"steps": 2, "data": 3}


def test_a_loop_that_ends_early_closes_its_batches(run, clock):
    closed = []

    def batches():
        try:
            yield from arriving(clock, 1, 2)
        finally:
            closed.append(True)

    found = run.batches(batches())
    next(found)
    found.close()
    assert closed


def ended(path, *, steps, saving=0.0, check=lambda: None):
    """Simulate a run in a workdir."""
    clock = Clock()
    run = Goodput(clock)
    run.open(epath.Path(path), check)
    with run.during("steps"):
        clock.now += steps
    with run.during("saving"):
        clock.now += saving
    run.end()


def test_the_last_line_has_the_shares_of_this_run_and_the_file_those_of_all(tmp_path, capsys):
    ended(tmp_path, steps=100)
    ended(tmp_path, steps=428, saving=4)
    assert capsys.readouterr().out.splitlines() == [
        "goodput: 100.0% of 1m 40s in steps; starting 0.0%, preparing the data 0.0%, compiling 0.0%,"
        " waiting for data 0.0%, evaluating 0.0%, saving 0.0%",
        "goodput: 99.1% of 7m 12s in steps; starting 0.0%, preparing the data 0.0%, compiling 0.0%,"
        " waiting for data 0.0%, evaluating 0.0%, saving 0.9%",
    ]
    found = goodput.read(epath.Path(tmp_path))
    assert found == dict.fromkeys(goodput.WORDS, 0.0) | {"steps": 528, "saving": 4}
    assert dict(goodput.shares(found))["saving"] == pytest.approx(4 / 532)


def test_a_run_that_is_killed_leaves_the_times_until_its_last_checkpoint(run, clock, tmp_path):
    run.open(epath.Path(tmp_path), lambda: None)
    for time in (3, 7):
        clock.now = time
        run.save()
    clock.now = 100
    assert goodput.read(epath.Path(tmp_path))["starting"] == 7


def test_nothing_is_written_after_the_lock_is_lost(tmp_path):
    with pytest.raises(KeyError):
        ended(tmp_path, steps=1, check={}.popitem)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_note(run, clock, tmp_path, monkeypatch, capsys):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write", full)
    run.open(epath.Path(tmp_path), lambda: None)
    run.save()
    run.save()
    note = "note: goodput.json can't be written (No space left on device); the run continues without it\n"
    assert capsys.readouterr().out == note


def test_a_workdir_without_the_file_has_no_times(tmp_path):
    assert goodput.read(epath.Path(tmp_path)) == {}


def test_a_link_is_replaced_not_followed(tmp_path):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / goodput.FILE).symlink_to(tmp_path / "precious")
    ended(tmp_path / "w", steps=1)
    assert (tmp_path / "precious").read_text() == "precious"
    assert goodput.read(epath.Path(tmp_path / "w"))["steps"] == 1


@pytest.fixture
def file(tmp_path):
    """The file of a run that has ended."""
    ended(tmp_path, steps=1.25)
    return tmp_path / goodput.FILE


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Expecting value"),
        (b"\xff", "can't decode"),
        (b"[]", "it is a list of 0, but must be an object"),
        (b'{"seconds": {}}', "checksum is missing"),
        (b'{"seconds": {"steps": NaN}, "checksum": 0}', "it has the number NaN"),
        (b'{"seconds": {"steps": -1}, "checksum": 0}', "seconds.steps is -1, but must be from 0 to 10^10"),
        (b'{"seconds": {"steps": 1e11}, "checksum": 0}', "must be from 0 to 10^10"),
        (b'{"seconds": {"\\u001b[2J": 1}, "checksum": 0}', "but must be steps or starting or"),
        (b'{"seconds": {"steps": 1}, "checksum": 0}', "goodput.json has a wrong checksum"),
        (b"[" * 10**5, "nested too deeply"),
        (b" " * (2**24 + 1), "goodput.json has 16,777,217 bytes, more than"),
    ],
)
def test_a_damaged_file_is_a_note_and_replaced(file, content, reason, capsys):
    capsys.readouterr()
    file.write_bytes(content)
    ended(file.parent, steps=2)
    note, _ = capsys.readouterr().out.splitlines()
    assert note.startswith("note: goodput.json")
    assert note.endswith(": its times are ignored")
    assert reason in note
    assert note.isprintable()
    assert goodput.read(epath.Path(file.parent))["steps"] == 2


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_pipe_or_a_folder_is_a_note(tmp_path, make, capsys):
    make(tmp_path / goodput.FILE)
    ended(tmp_path, steps=1)
    note = "note: goodput.json is not a regular file: its times are ignored"
    assert capsys.readouterr().out.splitlines()[0] == note


def test_a_flipped_bit_is_damage(file):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    draws, content = random.Random(seed), file.read_bytes()
    for _ in range(200):
        changed = bytearray(content)
        changed[draws.randrange(len(content))] ^= 1 << draws.randrange(8)
        file.write_bytes(changed)
        try:
            goodput.read(epath.Path(file.parent))
        except ValueError:
            pass
        else:  # it was white space
            assert json.loads(changed) == json.loads(content)


@given(data=st.data())
@READ_ONLY
def test_any_hostile_file_is_refused_in_one_line_or_has_shares(tmp_path, data):
    times = dict.fromkeys(goodput.WORDS, 1.5)
    found = data.draw(hostile({"seconds": times, "checksum": 0}))
    if isinstance(found.get("seconds"), dict):
        found["checksum"] = goodput._checksum(found["seconds"])
    (tmp_path / goodput.FILE).write_text(json.dumps(found))
    try:
        seconds = goodput.read(epath.Path(tmp_path))
    except ValueError as error:
        message = str(error)
    else:
        total = sum(share for _, share in goodput.shares(seconds))
        assert total == pytest.approx(1 if any(seconds.values()) else 0)
        return
    assert len(message) < 1000
    assert message.endswith(": its times are ignored")
