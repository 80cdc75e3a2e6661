"""What a run prints and writes."""

import contextlib
import json
import os
import socket
import time

import pytest
from etils import epath
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import RecordWriter

from alexnet_jax import UserError, files
from alexnet_jax.training import metrics
from alexnet_jax.training.flops import Flops
from alexnet_jax.training.log import Log
from alexnet_jax.training.scores import Result


class Board:
    """Weights & Biases, as a list of what it receives."""

    def __init__(self):
        self.received = []

    def begin(self):
        self.received.append("begin")

    def add(self, step, values):
        self.received.append((step, values))


def opened(workdir, step=0, peak=1e8):
    flops = Flops(per_image=1e4, peak=peak)
    return Log(epath.Path(workdir), step, total_steps=40, steps_per_epoch=20, flops=flops, board=Board())


@pytest.fixture
def log(tmp_path):
    with contextlib.closing(opened(tmp_path)) as log:
        yield log


def test_lines_are_printed_and_can_be_read_back(log, tmp_path, capsys):
    log.train(10, loss=2.0, top1_error=0.75, learning_rate=0.01, images_per_second=1234.5)
    log.evaluation(20, Result("test", 1, 100, 1.5, 0.5, 0.25))
    log.magnitudes(20, {"conv1": {"steps": 0.001, "weights": 0.08}})
    assert capsys.readouterr().out.splitlines() == [
        "step 10 (epoch 0.50): loss 2.0000, error 75.00%, learning rate 0.01, 1,234 images/s, 12.3 MFLOP/s"
        " (MFU 12.3%)",
        "step 20 (epoch 1.00): test loss 1.5000, error 50.00% (top 5 25.00%)",
        "  mean |w|, mean |step|: conv1 8.0e-02 1.0e-03",
    ]
    found = metrics.read(epath.Path(tmp_path))
    ((train,), (evaluation,), (layers,)) = found.train, found.evaluations, found.layers
    assert (train["step"], train["epoch"], train["images_per_second"]) == (10, 0.5, 1234.5)
    assert (train["flops_per_second"], train["mfu"]) == (12_345_000, pytest.approx(0.12345))
    assert (evaluation["split"], evaluation["examples"], evaluation["top5_error"]) == ("test", 100, 0.25)
    assert layers["layers"] == {"conv1": {"steps": 0.001, "weights": 0.08}}
    for line, kind in ((train, metrics.Train), (evaluation, metrics.Evaluation), (layers, metrics.Layers)):
        assert line.keys() == {"kind", *kind.__annotations__}


def test_without_a_known_peak_the_utilization_is_null(tmp_path, capsys):
    with contextlib.closing(opened(tmp_path, peak=None)) as log:
        log.train(10, loss=2.0, top1_error=0.75, learning_rate=0.01, images_per_second=1234.5)
    assert capsys.readouterr().out.endswith(" 1,234 images/s, 12.3 MFLOP/s\n")
    assert metrics.read(epath.Path(tmp_path)).train[0]["mfu"] is None
    assert "train/mfu" not in log._board.received[1][1]


def line(step):
    return json.dumps({"kind": "layers", "step": step, "layers": {}}).encode() + b"\n"


def resumed(tmp_path, content, step=30):
    """Return the log's content after a run with this log has resumed at a step."""
    (tmp_path / "metrics.jsonl").write_bytes(content)
    opened(tmp_path, step).close()
    return (tmp_path / "metrics.jsonl").read_bytes()


def test_a_resumed_run_deletes_later_lines_and_one_that_was_cut_off(tmp_path, capsys):
    for tail in (b'{"kind": "tra', line(20)[:-2], b"\0\0\0", line(30)[:-1]):
        assert resumed(tmp_path, line(10) + line(20) + line(30) + tail, step=20) == line(10) + line(20)
    assert capsys.readouterr().out == ""


def test_a_resumed_run_completes_a_last_line_without_its_end(tmp_path):
    assert resumed(tmp_path, line(10) + line(20)[:-1]) == line(10) + line(20)


def test_a_resumed_run_keeps_the_lines_after_a_damaged_one(tmp_path, capsys):
    damaged = line(20).replace(b'"step"', b'"st\xffp"')
    content = line(10) + damaged + line(30)
    assert resumed(tmp_path, content + line(40)) == content
    said = capsys.readouterr().out
    assert said == "note: metrics.jsonl is damaged in line 2: this line is ignored\n"
    assert resumed(tmp_path, damaged + damaged + line(10)) == damaged + damaged + line(10)
    said = capsys.readouterr().out
    assert said == "note: metrics.jsonl is damaged in 2 lines, first in line 1: they are ignored\n"


def test_the_events_are_those_that_tensorboard_reads_and_weights_and_biases_receives(log, tmp_path):
    """They equal the records of tensorboardX's writer, which has the right checksums."""
    log.train(10, loss=2.0, top1_error=0.75, learning_rate=0.01, images_per_second=1234.5)
    log.magnitudes(20, {"conv1": {"steps": 0.001, "weights": 0.08}})
    (path,) = tmp_path.glob("events.out.tfevents.*")
    content = path.read_bytes()
    events, start = [], 0
    while start < len(content):
        size = int.from_bytes(content[start : start + 8], "little")
        events.append(Event.FromString(content[start + 12 : start + 12 + size]))
        start += size + 16
    writer = RecordWriter(str(tmp_path / "theirs"))
    for event in events:
        writer.write(event.SerializeToString())
    writer.close()
    assert (tmp_path / "theirs").read_bytes() == content
    version, begin, train, layers = events
    assert version.file_version == "brain.Event:2"
    assert (begin.step, begin.session_log.status) == (1, SessionLog.START)
    assert {v.tag: v.simple_value for v in train.summary.value} == pytest.approx(
        {
            "train/loss": 2,
            "train/top1_error": 0.75,
            "train/learning_rate": 0.01,
            "train/images_per_second": 1234.5,
            "train/flops_per_second": 12_345_000,
            "train/mfu": 0.12345,
        }
    )
    assert (train.step, layers.step) == (10, 20)
    assert {v.tag for v in layers.summary.value} == {"steps/conv1", "weights/conv1"}
    assert abs(train.wall_time - time.time()) < 60
    begun, *received = log._board.received
    assert begun == "begin"
    for event, (step, values) in zip((train, layers), received, strict=True):
        assert event.step == step
        assert {v.tag: v.simple_value for v in event.summary.value} == pytest.approx(values)


def full(monkeypatch, name):
    """Let the files whose names begin with this be on a full disk."""
    open_append = files.open_append

    def replaced(path):
        return open_append(epath.Path("/dev/full") if path.name.startswith(name) else path)

    monkeypatch.setattr(files, "open_append", replaced)


def log_twenty_lines(log):
    for step in range(1, 21):
        log.train(step, loss=2.0, top1_error=0.75, learning_rate=0.01, images_per_second=1234.5)
        log.magnitudes(step, {f"conv{i}": {"steps": 0.001, "weights": 0.08} for i in range(10)})
    log.sync()


def test_a_full_disk_for_events_neither_blocks_nor_ends_the_run(log, tmp_path, monkeypatch, capsys):
    full(monkeypatch, "events")
    log_twenty_lines(log)
    assert log.failure is None
    assert len(metrics.read(epath.Path(tmp_path)).train) == 20
    said = capsys.readouterr().out
    assert said.count("events for TensorBoard can't be written (No space left on device)") == 1


def test_a_full_disk_for_the_log_is_a_failure_of_the_log(log, tmp_path, monkeypatch):
    full(monkeypatch, "metrics")
    log_twenty_lines(log)
    assert log.failure == f"{tmp_path}/metrics.jsonl can't be written (No space left on device)"


def test_a_log_is_not_written_through_a_symbolic_link(tmp_path):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "metrics.jsonl").symlink_to(tmp_path / "precious")
    with pytest.raises(UserError, match=r"metrics\.jsonl.*symbolic link"):
        opened(tmp_path / "w")
    assert (tmp_path / "precious").read_text() == "precious"


def test_events_are_not_written_through_a_symbolic_link(tmp_path, monkeypatch):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "w").mkdir()
    monkeypatch.setattr(time, "time", lambda: 5.0)
    name = f"events.out.tfevents.5.{socket.gethostname()}.{os.getpid()}"
    (tmp_path / "w" / name).symlink_to(tmp_path / "precious")
    with contextlib.suppress(UserError):
        opened(tmp_path / "w").close()
    assert (tmp_path / "precious").read_text() == "precious"


def test_the_lines_are_synced_before_a_checkpoint(log, tmp_path, monkeypatch):
    synced = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(os.fstat(file).st_ino), fsync(file)))
    log_twenty_lines(log)
    assert synced == [(tmp_path / "metrics.jsonl").stat().st_ino]
