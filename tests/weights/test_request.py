"""An export that can't succeed is refused in one line before JAX starts."""

import importlib.util
import json
import shutil

import pytest

from alexnet_jax.cli.main import main
from alexnet_jax.training.workdir import write_workdir
from tests.conftest import error_lines
from tests.weights.networks import network

INSTALLED = importlib.util.find_spec


@pytest.fixture
def refused(tmp_path, monkeypatch, capfd):
    """A function that returns the line of a refusal, for which no checkpoint may be read."""

    def restore(*args, **options):
        raise AssertionError("it is refused too late")

    monkeypatch.setattr("alexnet_jax.training.restored.restore", restore)
    monkeypatch.chdir(tmp_path)

    def call(*args):
        capfd.readouterr()
        before = sorted(tmp_path.rglob("*"))
        assert main(["export", *args]) == 2
        assert sorted(tmp_path.rglob("*")) == before
        (line,) = error_lines(capfd.readouterr().err)
        return line

    return call


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "--to=FORMAT is missing"),
        (["--to=onnx"], "--workdir=DIR is missing"),
        (["--to=onnx", "--workdir=W"], "--save=FILE is missing"),
        (
            ["--to=onxx", "--workdir=W", "--save=x.onnx"],
            "no format onxx (did you mean onnx?): the formats are",
        ),
        (
            ["--to=onnx", "--workdir=W", "--save=x.pb"],
            "x.pb must end in .onnx, as files of the format onnx do",
        ),
        (["--to=onnx", "--workdir=W", "--save=x.onnx"], "W is no workdir"),
        (["--to=onnx", "--workdir=W", "--save=no/x.onnx"], "--save=no/x.onnx can't be written (No such file"),
        (["--to=onnx", "--workdir=W", "--save=s3://b/x.onnx"], "s3://b/x.onnx"),
        (["--to=onnx", "--workdir=W", "--save=x.onnx", "more"], "export takes only flags: remove 'more'"),
    ],
)
def test_mistakes(refused, args, message):
    assert message in refused(*args)


@pytest.mark.parametrize(("to", "package"), [("torch", "torch"), ("onnx", "onnxruntime")])
def test_a_missing_package_is_named_with_its_extra(refused, monkeypatch, to, package):
    without = lambda name, *rest: None if name == package else INSTALLED(name, *rest)  # noqa: E731
    monkeypatch.setattr("importlib.util.find_spec", without)
    line = refused(f"--to={to}", "--workdir=W", "--save=x.pth")
    assert f"the format {to} needs the package {package}: pip install -e '.[{to}]'" in line


def test_files_that_cannot_be_written(refused, trained, tmp_path):
    flags = ["--to=safetensors", f"--workdir={trained}", "--save=x.safetensors"]
    (tmp_path / "x.md").mkdir()
    assert "x.md" in refused(*flags)
    (tmp_path / "x.md").rmdir()
    (tmp_path / "x_module.py").write_text("import mine")
    assert "x_module.py is not by alexnet-jax export" in refused(*flags)


def test_a_network_that_a_format_cannot_express(refused, tmp_path):
    net = network("cifar10.py:local13")
    write_workdir(tmp_path / "w", net.config, net.data)
    line = refused("--to=safetensors", f"--workdir={tmp_path}/w", "--save=x.safetensors")
    assert (
        "the format safetensors can't express this network, but stablehlo can: local3 is a Local layer, which"
        " PyTorch does not have" in line
    )


def test_a_damaged_workdir(refused, trained, tmp_path):
    shutil.copytree(trained, tmp_path / "w")
    config = json.loads((tmp_path / "w" / "config.json").read_text())
    (tmp_path / "w" / "config.json").write_text(json.dumps(config | {"seed": 7}))
    assert "w is damaged" in refused("--to=stablehlo", "--workdir=w", "--save=x.stablehlo")


def test_an_export_into_a_bucket(trained, bucket):
    from alexnet_jax.files import absolute

    assert main(["export", "--to=onnx", f"--workdir={trained}", f"--save={bucket}/net.onnx"]) == 0
    assert absolute(f"{bucket}/net.onnx").stat().length > 10_000
