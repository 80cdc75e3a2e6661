"""What a run prints and writes."""

import contextlib
import json

import pytest
from etils import epath

from alexnet_jax.training import metrics
from alexnet_jax.training.log import Log
from alexnet_jax.training.scores import Result


@pytest.fixture
def log(tmp_path):
    with contextlib.closing(Log(epath.Path(tmp_path), 0, total_steps=40, steps_per_epoch=20)) as log:
        yield log


def test_lines_are_printed_and_can_be_read_back(log, tmp_path, capsys):
    log.train(10, loss=2.0, top1_error=0.75, learning_rate=0.01, images_per_second=1234.5)
    log.evaluation(20, Result("test", 1, 100, 1.5, 0.5, 0.25))
    log.magnitudes(20, {"conv1": {"steps": 0.001, "weights": 0.08}})
    assert capsys.readouterr().out.splitlines() == [
        "step 10 (epoch 0.50): loss 2.0000, error 75.00%, learning rate 0.01, 1,234 images/s",
        "step 20 (epoch 1.00): test loss 1.5000, error 50.00% (top 5 25.00%)",
        "  mean |w|, mean |step|: conv1 8.0e-02 1.0e-03",
    ]
    found = metrics.read(epath.Path(tmp_path))
    ((train,), (evaluation,), (layers,)) = found.train, found.evaluations, found.layers
    assert (train["step"], train["epoch"], train["images_per_second"]) == (10, 0.5, 1234.5)
    assert (evaluation["split"], evaluation["examples"], evaluation["top5_error"]) == ("test", 100, 0.25)
    assert layers["layers"] == {"conv1": {"steps": 0.001, "weights": 0.08}}
    for line, kind in ((train, metrics.Train), (evaluation, metrics.Evaluation), (layers, metrics.Layers)):
        assert line.keys() == {"kind", *kind.__annotations__}


def test_a_resumed_run_deletes_later_lines_and_a_truncated_one(tmp_path):
    path = epath.Path(tmp_path)
    written = [json.dumps({"kind": "layers", "step": step, "layers": {}}) for step in (10, 20, 30)]
    (path / "metrics.jsonl").write_text("\n".join(written) + '\n{"kind": "tra')
    Log(path, 20, total_steps=40, steps_per_epoch=20).close()
    assert [line["step"] for line in metrics.read(path).layers] == [10, 20]
    assert metrics.read(path).cut is None
