"""The Python API: what the page says of it, how it is imported, and the example that uses it."""

import dataclasses
import os
import runpy
import subprocess
import sys

import pytest
from PIL import Image

import alexnet_jax
from alexnet_jax.data.dataset import open_cache
from alexnet_jax.parallel.mesh import make_mesh
from tests.conftest import CONFIGS, ROOT


def test_the_page_is_what_the_docstrings_say():
    made = runpy.run_path(str(ROOT / "docs" / "make_api.py"))["page"]()
    assert (ROOT / "docs" / "api.md").read_text() == made, "run `make docs`"


def test_every_public_name_is_there_and_has_a_home():
    assert sorted(alexnet_jax._HOME) == alexnet_jax.__all__
    assert all(getattr(alexnet_jax, name).__name__ == name for name in alexnet_jax.__all__)
    assert set(alexnet_jax.__all__) <= set(dir(alexnet_jax))
    with pytest.raises(AttributeError, match="no attribute 'learn'"):
        _ = alexnet_jax.learn


def test_reading_a_config_does_not_wait_for_jax():
    code = "import alexnet_jax, sys; alexnet_jax.get_config(sys.argv[1]); print('jax' in sys.modules)"
    command = [sys.executable, "-c", code, str(CONFIGS / "digits.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_functions_are_functions_after_their_modules_are_imported():
    import alexnet_jax.loops.evaluate
    import alexnet_jax.loops.predict
    import alexnet_jax.loops.prepare
    import alexnet_jax.loops.train

    assert all(callable(getattr(alexnet_jax, name)) for name in ("train", "evaluate", "predict", "prepare"))


def test_training_returns_its_end_and_says_when_it_is_there(trained, tiny, tmp_path):
    tiny.num_steps = 2
    done = alexnet_jax.train(tiny, tmp_path / "w")
    assert (done.workdir, done.step) == (str(tmp_path / "w"), 2)
    assert (done.result.split, done.result.examples) == ("validation", 144)
    assert dataclasses.replace(done, result=None) == alexnet_jax.train(tiny, tmp_path / "w")
    tiny.batch_size = 0
    with pytest.raises(alexnet_jax.UserError, match="batch_size"):
        alexnet_jax.train(tiny, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_evaluate_takes_workdirs_and_networks(trained):
    lines = []
    of_workdir = alexnet_jax.evaluate(trained, say=lines.append)
    assert lines == [
        f"reading the last checkpoint of {trained}",
        "evaluating 360 images of test, 1 view of each",
    ]
    net = alexnet_jax.restore(trained)
    of_net = alexnet_jax.evaluate(net)
    assert of_net.checkpoints == of_workdir.checkpoints == (alexnet_jax.Checkpoint(str(trained), 40),)
    assert of_net.top1_error == of_workdir.top1_error
    assert isinstance(of_net, alexnet_jax.Result)
    alone = alexnet_jax.evaluate(trained, "validation", step=20)
    pair = alexnet_jax.evaluate([net, trained], "validation", step=20, weights=(0, 1))
    assert pair.top1_error == alone.top1_error
    assert pair.to_json()["checkpoints"] == [
        {"workdir": str(trained), "step": 40, "weight": 0},
        {"workdir": str(trained), "step": 20, "weight": 1},
    ]


def test_evaluate_refuses_what_makes_no_sense(trained, tmp_path):
    net = alexnet_jax.restore(trained)
    with pytest.raises(ValueError, match="views must be 1 or 10, not 5"):
        alexnet_jax.evaluate(net, views=5)
    with pytest.raises(ValueError, match="1 weights for 2 networks"):
        alexnet_jax.evaluate([net, net], weights=[1])
    with pytest.raises(ValueError, match="different meshes"):
        alexnet_jax.evaluate([net, alexnet_jax.restore(trained, mesh=make_mesh(2, 1))])
    with pytest.raises(ValueError, match="no network"):
        alexnet_jax.evaluate([])
    with pytest.raises(alexnet_jax.UserError, match="is no workdir"):
        alexnet_jax.evaluate(tmp_path / "nowhere")
    with pytest.raises(alexnet_jax.UserError, match="'dev'"):
        alexnet_jax.evaluate(net, "dev")


def test_prepare_returns_the_cache_and_verifies_it(tiny, tmp_path):
    tiny.data.cache_dir = str(tmp_path)
    lines = []
    cache = alexnet_jax.prepare(tiny, say=lines.append)
    assert lines[0] == "reading the list of images of sklearn:digits"
    assert cache.images["train"][:3].shape == (3, 8, 8, 3)
    assert len(cache.labels["test"]) == 360
    again = alexnet_jax.prepare(tiny, say=lines.append)
    assert again.info.fingerprint == cache.info.fingerprint
    assert lines[-2:] == [
        f"verifying every byte of {cache.directory}",
        "nothing to prepare: it is there, and every checksum holds",
    ]


def test_predict_takes_one_path_or_several(trained, tmp_path, capsys):
    net = alexnet_jax.restore(trained)
    for i, image in enumerate(open_cache(net.config.data, print).images["test"][:3]):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    capsys.readouterr()
    paths = sorted(tmp_path.glob("*.png"))
    several = list(alexnet_jax.predict(net, paths))
    assert [prediction.path for prediction in several] == [str(path) for path in paths]
    assert [p.guesses for p in alexnet_jax.predict(net, tmp_path)] == [p.guesses for p in several]
    (one,) = alexnet_jax.predict(net, str(paths[1]))
    assert one.path == str(paths[1])
    assert list(alexnet_jax.predict(net, tmp_path / "nothing.png")) == []
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"alexnet-jax: {tmp_path}/nothing.png is left out: No such file or directory\n"


def test_the_example_runs(tmp_path):
    text = (ROOT / "examples" / "digits.py").read_text()
    for old, new in (
        ('"runs/example"', repr(str(tmp_path / "w"))),
        ("config.num_epochs = 8.0", "config.num_steps = 3"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    (tmp_path / "example.py").write_text(text)
    done = subprocess.run(
        [sys.executable, tmp_path / "example.py"],
        cwd=ROOT,
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "done: 3 steps" in done.stdout
    assert done.stdout.count("of 360 test images") == 2
    assert done.stdout.count("%  ") == 8 * 5
    assert done.stdout.splitlines()[-1] == "(100, 10)"
    assert (tmp_path / "w" / "predictions.png").stat().st_size > 10_000
