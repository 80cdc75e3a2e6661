"""The log on Weights & Biases: with the package in offline mode, and with one that fails or never answers."""

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import types
from pathlib import Path

import numpy as np
import pytest
from etils import epath

from alexnet_jax import train
from alexnet_jax.errors import Interrupted, RunError
from alexnet_jax.parallel import hosts
from alexnet_jax.parallel.signals import Signals
from alexnet_jax.training import weights_and_biases
from alexnet_jax.training.weights_and_biases import WeightsAndBiases
from tests.conftest import RECIPES


def records(path):
    """Return the messages in a file of W&B, which has the format of LevelDB's logs after seven bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, found, start, parts = path.read_bytes(), [], 7, []
    while start < len(content):
        if (left := 2**15 - start % 2**15) < 7:
            start += left
            continue
        size, kind = int.from_bytes(content[start + 4 : start + 6], "little"), content[start + 6]
        parts.append(content[start + 7 : start + 7 + size])
        if kind in (1, 4):  # whole, or the last part
            found.append(Record.FromString(b"".join(parts)))
            parts = []
        start += 7 + size
    return found


@pytest.mark.slow
def test_offline_a_resumed_run_logs_the_same_values_as_metrics_jsonl_in_the_same_run(tmp_path, cache_dir):
    pytest.importorskip("wandb")
    env = os.environ | {
        "WANDB_MODE": "offline",
        "WANDB_DIR": f"{tmp_path}",
        "WANDB_CACHE_DIR": f"{tmp_path}/cache",
        "WANDB_ERROR_REPORTING": "false",
        "TMPDIR": f"{tmp_path}/temporary",
    }
    (tmp_path / "temporary").mkdir()
    workdir = tmp_path / "w"
    for steps in (20, 40):
        flags = [f"--config={RECIPES / 'tiny.py'}", f"--workdir={workdir}", f"--config.num_steps={steps}"]
        flags += ["--config.wandb=team/digits"]
        subprocess.run(
            [sys.executable, "-W", "error", "-m", "alexnet_jax", "train", *flags],
            env=env,
            check=True,
            timeout=300,
        )
    first, second = map(records, sorted(tmp_path.glob("wandb/offline-run-*/*.wandb")))
    runs = [record.run for found in (first, second) for record in found if record.HasField("run")]
    (id_,) = {run.run_id for run in runs}
    assert (workdir / "wandb_id.txt").read_text() == f"{id_}\n"
    assert {(run.entity, run.project, run.display_name) for run in runs} == {("team", "digits", "w")}
    settings = {update.key: json.loads(update.value_json) for update in runs[0].config.update}
    assert settings["net.layers.conv1.features"] == 6
    assert settings["batch_size"] == 16

    histories = [r.history for found in (first, second) for r in found if r.HasField("history")]
    logged = [
        {(*item.nested_key, item.key)[0]: json.loads(item.value_json) for item in history.item}
        for history in histories
    ]
    fields = ("loss", "learning_rate", "images_per_second")
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    train = [(line["step"], *(line[f] for f in fields)) for line in lines if line["kind"] == "train"]
    found = [(r["step"], *(r[f"train/{f}"] for f in fields)) for r in logged if "train/loss" in r]
    assert found == train
    assert {"validation/top1_error", "steps/conv1"} < {key for r in logged for key in r}
    assert not [*(tmp_path / "temporary").iterdir()]
    assert not [*workdir.rglob("*wandb-core*")]
    assert not [args for args in command_lines() if f"{tmp_path}" in args]


def command_lines():
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            yield (process / "cmdline").read_text(errors="replace")


class Package(types.ModuleType):
    """The package wandb, of which some functions do something else."""

    def __init__(self, mode="online", account=True, init=None):
        super().__init__("wandb")
        self.__spec__ = importlib.util.spec_from_loader("wandb", None, origin="here")
        self.logged, self.status, self.arguments = [], None, None
        self.mode, self.account, self.replaced = mode, account, init

    def Settings(self, **settings):  # noqa: N802, W&B's name
        return settings

    def Image(self, pixels):  # noqa: N802, W&B's name
        return pixels.shape

    def setup(self, settings):
        return types.SimpleNamespace(settings=types.SimpleNamespace(mode=self.mode))

    def login(self, prompt, verify):
        assert not prompt
        assert not verify
        return self.account

    def init(self, **arguments):
        self.arguments = arguments
        if self.replaced is not None:
            self.replaced()
        return self

    def define_metric(self, name, step_metric):
        pass

    def log(self, values):
        self.logged.append(values)

    def finish(self, status):
        self.status = status


@pytest.fixture
def package(monkeypatch):
    def install(**replaced):
        package = Package(**replaced)
        monkeypatch.setitem(sys.modules, "wandb", package)
        return package

    return install


def run(tiny, workdir, error=None):
    """Log two records, and return what W&B's run does next."""
    tiny.wandb = "digits"
    with WeightsAndBiases(epath.Path(workdir), tiny) as board:
        board.begin()
        board.add(10, {"train/loss": 2.0})
        board.add_pictures(20, {"kernels": np.zeros((3, 4, 3), np.uint8)})
        if error is not None:
            raise error


def test_values_and_pictures_are_logged_with_their_steps(tiny, tmp_path, package, capsys):
    wandb = package()
    run(tiny, tmp_path)
    assert wandb.logged == [{"step": 10, "train/loss": 2.0}, {"step": 20, "kernels": (3, 4, 3)}]
    assert wandb.status == 0
    assert (wandb.arguments["project"], wandb.arguments["entity"]) == ("digits", None)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("error", "status"), [(KeyError(), 1), (RunError(), 1), (Interrupted(signal.SIGTERM, "saved"), 143)]
)
def test_a_run_that_fails_has_the_same_status_there(tiny, tmp_path, package, error, status):
    wandb = package()
    with pytest.raises(type(error)):
        run(tiny, tmp_path, error)
    assert wandb.status == status


def test_a_training_that_is_interrupted_does_not_end_there_as_finished(
    tiny, tmp_path, cache_dir, package, monkeypatch
):
    wandb, tiny.wandb = package(), "digits"
    monkeypatch.setattr(Signals, "stop_after", lambda self, step: signal.SIGTERM if step == 2 else None)
    with pytest.raises(Interrupted):
        train(tiny, tmp_path)
    assert wandb.status == 143


@pytest.mark.parametrize("content", [b"../x", b"", b"\xff", b"a" * 1000])
def test_a_damaged_id_is_replaced(tiny, tmp_path, package, content):
    (tmp_path / "wandb_id.txt").write_bytes(content)
    wandb = package()
    run(tiny, tmp_path)
    new = wandb.arguments["id"]
    assert len(new) == 8
    run(tiny, tmp_path)
    assert wandb.arguments["id"] == new


def raise_error():
    raise OSError("No space left on device\nand more")


@pytest.mark.parametrize(
    ("replaced", "reason"),
    [
        ({"account": False}, "there is no account: type wandb login, or set WANDB_MODE=offline"),
        ({"init": raise_error}, "No space left on device"),
    ],
)
def test_a_failure_is_one_note(tiny, tmp_path, package, capsys, replaced, reason):
    package(**replaced)
    run(tiny, tmp_path)
    said = capsys.readouterr().out
    assert said == f"note: Weights & Biases: {reason}; the run continues without it\n"


def test_without_an_account_offline_mode_logs(tiny, tmp_path, package):
    wandb = package(account=False, mode="offline")
    run(tiny, tmp_path)
    assert len(wandb.logged) == 2


@pytest.mark.parametrize("its_files", [False, True])
def test_without_the_package_a_note_names_the_extra(tiny, tmp_path, monkeypatch, capsys, its_files):
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    monkeypatch.setattr(sys, "path", [f"{tmp_path}"])
    if its_files:
        (tmp_path / "wandb").mkdir()
    run(tiny, tmp_path)
    assert capsys.readouterr().out.count("the package is missing: pip install -e '.[wandb]'") == 1


def test_a_server_that_never_answers_delays_only_the_end(tiny, tmp_path, package, monkeypatch, capsys):
    answer = threading.Event()
    package(init=answer.wait)
    monkeypatch.setattr(weights_and_biases, "_LAST", 0.1)
    monkeypatch.setattr(weights_and_biases, "_MOST", 1)
    run(tiny, tmp_path)  # the queue is full, too
    assert capsys.readouterr().out.count("the server does not answer in time") == 1
    answer.set()


def test_only_the_first_process_logs(tiny, tmp_path, package, monkeypatch):
    wandb = package()
    monkeypatch.setattr(hosts, "is_first", lambda: False)
    run(tiny, tmp_path)
    assert wandb.arguments is None
    assert [*tmp_path.iterdir()] == []


def test_nothing_is_imported_without_a_project(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(weights_and_biases, "_is_installed", lambda: pytest.fail("it is off"))
    with WeightsAndBiases(epath.Path(tmp_path), tiny) as board:
        board.begin()
        board.add(10, {"train/loss": 2.0})
