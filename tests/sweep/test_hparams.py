"""The settings and the results that TensorBoard shows beside each other."""

import json
import shutil

import pytest
from etils import epath
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

from alexnet_jax import get_config
from alexnet_jax.sweep import hparams
from alexnet_jax.sweep.tasks import Task
from tests.conftest import RECIPES

RESULT = {
    "split": "test",
    "views": 1,
    "examples": 10,
    "loss": 1.5,
    "top1_error": 0.25,
    "top5_error": 0.125,
    "checkpoints": [{"workdir": "w", "step": 40}],
}


def read(path):
    """Return the settings, and the values of the result with their steps."""
    content, events = path.read_bytes(), []
    while content:
        size = int.from_bytes(content[:8], "little")
        events.append(Event.FromString(content[12 : 12 + size]))
        content = content[16 + size :]
    _, start, points, _ = events
    info = HParamsPluginData.FromString(start.summary.value[0].metadata.plugin_data.content)
    settings = {
        key: getattr(value, value.WhichOneof("kind"))
        for key, value in info.session_start_info.hparams.items()
    }
    return settings, points.step, {value.tag: value.simple_value for value in points.summary.value}


@pytest.fixture
def tasks(tmp_path):
    """Three networks and an ensemble."""
    found = []
    for name, rate, seed in (("tiny.py", 0.01, 0), ("tiny.py:no_dropout", 0.01, 1), ("tiny.py", 0.02, 1)):
        config = get_config(f"{RECIPES / name}")
        config.optimizer.learning_rate, config.seed = rate, seed
        config.data.cache_dir = f"/{len(found)}"
        found.append(Task(name, epath.Path(tmp_path / f"net{len(found)}"), (), (), (), config))
    found.append(Task("all", epath.Path(tmp_path / "all"), (), (), tuple(found), None))
    for task in found:
        task.directory.mkdir()
        (task.directory / "evaluation.json").write_text(json.dumps(RESULT))
    return found


def test_a_network_has_its_settings_that_differ_and_its_result(tasks, capsys):
    for task in tasks:
        hparams.write(task, tasks, print)
    settings, step, values = read(tasks[2].directory / hparams.FILE)
    rates = {"optimizer.learning_rate", "optimizer.bias_learning_rate"}
    layers = {key for key in settings if key.startswith("net.layers.drop6")}
    assert layers
    assert settings.keys() - layers == {"network", "seed", *rates}
    assert (settings["network"], settings["seed"], settings["optimizer.learning_rate"]) == ("net2", 1, 0.02)
    assert (step, values) == (
        40, {"result/loss": 1.5, "result/top1_error": 0.25, "result/top5_error": 0.125}
    )  # fmt: skip
    without, _, _ = read(tasks[1].directory / hparams.FILE)
    assert without.keys() == {"network", "seed", *rates}
    assert not (tasks[3].directory / hparams.FILE).exists()
    assert capsys.readouterr().out == ""


def test_a_network_without_a_valid_result_has_none(tasks):
    (tasks[0].directory / "evaluation.json").unlink()
    (tasks[1].directory / "failed.txt").write_text("a reason")
    for task in tasks[:2]:
        hparams.write(task, tasks, print)
        assert not (task.directory / hparams.FILE).exists()


def test_a_directory_that_is_gone_is_a_note(tasks, monkeypatch, capsys):
    monkeypatch.setattr(hparams, "valid_evaluation", lambda directory: RESULT)
    shutil.rmtree(tasks[0].directory)
    hparams.write(tasks[0], tasks, print)
    assert "hparams can't be written (No such file or directory)" in capsys.readouterr().out
