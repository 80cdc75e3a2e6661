"""Each verb works in a bucket as on a disk."""

import json
import re
import signal
import subprocess
import sys
import threading

import jax
import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from alexnet_jax import restore
from alexnet_jax.cli.main import main
from alexnet_jax.files import absolute
from alexnet_jax.remote import bucket as bucket_lib
from alexnet_jax.remote import lease
from alexnet_jax.training import goodput, metrics
from alexnet_jax.training.checkpoint_writer import CheckpointWriter
from alexnet_jax.training.workdir import saved_steps
from tests.conftest import RECIPES, ROOT, error_lines, launch
from tests.sweep.conftest import ended, start

TINY = f"--config={RECIPES / 'tiny.py'}"


@pytest.fixture
def words(bucket, cache_dir):
    return ["train", TINY, f"--workdir={bucket}", f"--config.data.cache_dir={cache_dir}"]


@pytest.fixture
def printed(capfd):
    """A function that returns the output since its last call, without the lines of TensorStore."""

    def read():
        out, err = capfd.readouterr()
        return out, "".join(line for line in err.splitlines(True) if "google_auth_provider" not in line)

    return read


def without_speed(content):
    return re.sub(rb'"images_per_second": [^}]*', b"", content)


def same_as(trained, workdir):
    """Check that a run in a bucket has the parameters, and the log, of the same run on a disk."""
    ours, theirs = restore(workdir), restore(trained)
    assert ours.step == theirs.step == 40
    jax.tree.map(np.testing.assert_array_equal, ours.params, theirs.params)
    log = (absolute(workdir) / metrics.FILE).read_bytes()
    assert without_speed(log) == without_speed((trained / metrics.FILE).read_bytes())


def test_a_run_that_is_resumed_has_the_same_bits_and_the_same_log_as_on_a_disk(
    words, bucket, trained, printed
):
    spent = []
    for steps in (15, 40):
        assert main([*words, f"--config.num_steps={steps}"]) == 0
        spent.append(sum(goodput.read(absolute(bucket)).values()))
    assert 0 < spent[0] < spent[1]
    out, err = printed()
    assert out.count("goodput: ") == 2
    assert "resuming at step 15 of 40" in out
    assert err == ""
    log = (absolute(bucket) / metrics.FILE).read_bytes().splitlines()
    # The first part ended with an additional evaluation, and the line of its last five steps.
    extra = [line for line in log if json.loads(line)["step"] == 15]
    (absolute(bucket) / metrics.FILE).write_bytes(b"".join(line + b"\n" for line in log if line not in extra))
    assert len(extra) >= 2
    ours, theirs = restore(bucket), restore(trained)
    jax.tree.map(np.testing.assert_array_equal, ours.params, theirs.params)
    assert not (absolute(bucket) / "lock").exists()


def test_an_uninterrupted_run_has_the_same_files_as_on_a_disk(words, bucket, trained):
    assert main(words) == 0
    same_as(trained, bucket)
    names = {file.name.partition(".")[0] for file in absolute(bucket).iterdir()}
    assert names == {file.name.partition(".")[0] for file in trained.iterdir()} - {"lock"}
    assert saved_steps(absolute(bucket)) == saved_steps(absolute(trained))
    (file,) = absolute(bucket).glob("events.*")
    (other,) = absolute(trained).glob("events.*")
    assert _events(file) == _events(other)
    assert len(_events(file)) > 5


def _events(file):
    """Return the step and the names of each event of a file."""
    content, found = file.read_bytes(), []
    while content:
        size = int.from_bytes(content[:8], "little")
        event = Event.FromString(content[12 : 12 + size])
        found.append((event.step, [value.tag for value in event.summary.value]))
        content = content[16 + size :]
    return found


@pytest.mark.slow
def test_evaluate_predict_report_and_fine_tune(words, bucket, trained, cache_dir, tmp_path, printed):
    assert main(words) == 0
    printed()
    data = f"--config.data.cache_dir={cache_dir}"
    for workdir, result in ((bucket, f"{bucket}/out/e.json"), (trained, f"{tmp_path}/e.json")):
        assert main(["evaluate", f"--workdir={workdir}", data, f"--json={result}"]) == 0
    results = (f"{bucket}/out/e.json", tmp_path / "e.json")
    ours, theirs = (json.loads(absolute(result).read_text()) for result in results)
    assert ours.pop("checkpoints") == [{"workdir": bucket, "step": 40}]
    del theirs["checkpoints"]
    assert ours == theirs
    assert main(["evaluate", f"--workdir={bucket}", f"--workdir={trained}", data, "--step=best"]) == 0
    image = str(ROOT / "docs" / "growth.png")
    saved = [f"--json={bucket}/p.json", f"--save={bucket}/p.png"]
    assert main(["predict", f"--workdir={bucket}", image, *saved]) == 0
    assert json.loads((absolute(bucket) / "p.json").read_text())[0]["path"] == image
    assert main(["report", f"--workdir={bucket}", data]) == 0
    assert main(["report", f"--workdir={bucket}", data, "--figure=4", f"--save={bucket}/f.png"]) == 0
    for name in ("p.png", "f-left.png", "f-right.png"):
        assert (absolute(bucket) / name).read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (absolute(bucket) / "report.html").read_bytes()
    tuned = f"{bucket}/tuned"
    settings = ["--config.num_steps=1", "--config.optimizer.learning_rate=0.0"]
    tune = ["train", TINY, f"--workdir={tuned}", f"--config.init_from={bucket}", data, *settings]
    assert main(tune) == 0
    out, err = printed()
    assert f"starts from {bucket}, step 40" in out
    assert error_lines(err) == []
    jax.tree.map(np.testing.assert_array_equal, restore(tuned).params, restore(trained).params)


@pytest.mark.slow
def test_old_checkpoints_are_deleted_and_a_damaged_one_is_set_aside(words, bucket, printed):
    settings = ["--config.checkpoint_every=5", "--config.keep_checkpoints=1"]
    assert main([*words, *settings, "--config.num_steps=20"]) == 0
    assert saved_steps(absolute(bucket)) == [20]
    (absolute(bucket) / "checkpoints" / "25" / "params").write_bytes(b"a part of an upload")
    assert saved_steps(absolute(bucket)) == [20]
    (absolute(bucket) / "checkpoints" / "25").rmtree()
    assert main([*words, "--config.checkpoint_every=5", "--config.num_steps=30"]) == 0
    damaged = absolute(bucket) / "checkpoints" / "30"
    (damaged / "host" / "metadata").write_bytes(b"")
    printed()
    assert main([*words, *settings, "--config.num_steps=35"]) == 0
    out, _ = printed()
    assert "checkpoint 30 is damaged and skipped" in out
    assert "resuming at step 25 of 35" in out
    names = {each.name for each in (absolute(bucket) / "checkpoints").iterdir()}
    assert "30.damaged" in names


def test_a_run_whose_lock_was_taken_over_ends_and_writes_nothing_more(words, bucket, monkeypatch, printed):
    save = CheckpointWriter.save

    def taken_over_after(self, step, *args):
        save(self, step, *args)
        if step == 20:
            (holder,) = held
            holder._lost = "process 7 on another has taken over the run"

    held = []
    monkeypatch.setattr(lease.Lease, "_take", _recorded(lease.Lease._take, held))
    monkeypatch.setattr(CheckpointWriter, "save", taken_over_after)
    assert main(words) == 1
    out, err = printed()
    assert "step 30" not in out
    assert err == "alexnet-jax: process 7 on another has taken over the run\n"
    assert saved_steps(absolute(bucket)) == [10, 20]


def _recorded(method, instances):
    def called(self, *args):
        instances.append(self)
        return method(self, *args)

    return called


@pytest.mark.slow
def test_a_long_outage_ends_the_run_in_one_line_and_the_same_command_resumes(
    words, bucket, emulator, trained, monkeypatch, printed
):
    monkeypatch.setattr(bucket_lib, "LIMIT", 1.0)
    save, stopped = CheckpointWriter.save, []

    def stop_before(self, step, *args):
        if step == 20 and not stopped:
            self._settle()
            emulator.stop()
            stopped.append(step)
        save(self, step, *args)

    monkeypatch.setattr(CheckpointWriter, "save", stop_before)
    try:
        assert main(words) == 1
    finally:
        emulator.start()
    _, err = printed()
    *notes, last = err.splitlines()
    assert all("does not answer" in note for note in notes)
    assert "a checkpoint can't be written" in last
    assert "has not answered for 1 seconds" in last
    monkeypatch.setattr(lease, "PERIOD", 0.1)  # the lock could not be deleted
    assert main(words) == 0
    same_as(trained, bucket)


@pytest.mark.slow
def test_a_short_outage_does_not_disturb_the_run(words, bucket, emulator, trained, monkeypatch):
    save = CheckpointWriter.save

    def stop_before(self, step, *args):
        if step == 20:
            emulator.stop()
            threading.Timer(2, emulator.start).start()
        save(self, step, *args)

    monkeypatch.setattr(CheckpointWriter, "save", stop_before)
    assert main(words) == 0
    same_as(trained, bucket)


@pytest.mark.slow
def test_a_killed_run_resumes_and_a_second_one_is_refused(words, bucket):
    first = start([*words, "--config.num_steps=1000000"])
    for line in first.stdout:
        if line.startswith("step 30 "):
            break
    second = ended(start(words))
    assert second.status == 2
    assert f"process {first.pid} on" in second.err
    assert f"trains in {bucket}: take another --workdir, or wait for it" in second.err
    first.kill()
    first.communicate()
    saved = saved_steps(absolute(bucket))[-1]
    third = ended(start([*words, f"--config.num_steps={saved + 20}"]))
    assert third.status == 0, third.err
    assert f"process {first.pid} on" in third.out
    assert "waiting up to 30 seconds to see whether it is alive" in third.out
    assert "resuming at step " in third.out
    steps = [line["step"] for line in metrics.read(absolute(bucket)).train]
    assert steps == list(range(10, saved + 21, 10))


@pytest.mark.slow
def test_a_run_that_is_stopped_by_sigterm_leaves_no_lock(words, bucket):
    process = start([*words, "--config.num_steps=1000000"])
    for line in process.stdout:
        if line.startswith("step 10 "):
            process.send_signal(signal.SIGTERM)
            break
    _, err = process.communicate()
    assert process.returncode == 143, err
    assert "resume with: alexnet-jax train" in err
    assert not (absolute(bucket) / "lock").exists()
    log = metrics.read(absolute(bucket)).train
    assert log[-1]["step"] <= saved_steps(absolute(bucket))[-1]


@pytest.mark.slow
def test_two_processes_share_a_workdir(words, bucket, emulator):
    command = (sys.executable, "-m", "alexnet_jax", *words, "--config.mesh=(1, 2)")
    launch(2, *command, "--config.num_steps=20", devices=2)
    printed = launch(2, *command, "--config.num_steps=40", devices=2)
    assert "resuming at step 20 of 40" in printed
    assert [line["step"] for line in metrics.read(absolute(bucket)).train] == [10, 20, 30, 40]
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, f"{bucket}/lock"], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    )
    assert holder.stdout.readline() == b"held\n"
    busy = launch(2, *command, "--config.num_steps=60", devices=2, status=2)
    assert busy.count(f"trains in {bucket}: take another --workdir, or wait for it") == 2
    holder.communicate()


HOLD = """
import sys
from alexnet_jax.files import absolute
from alexnet_jax.remote.lease import held
with held(absolute(sys.argv[1]), print, print):
    print("held", flush=True)
    sys.stdin.read()
"""
