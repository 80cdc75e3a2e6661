"""launch/Dockerfile builds the same command for each platform. No container is started here."""

import json
import re
import shlex
import subprocess
import tomllib

import pytest

from tests.conftest import ROOT

FILE = ROOT / "launch" / "Dockerfile"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def instructions(name):
    """Return the arguments of each instruction of this name, with lines joined."""
    text = re.sub(r"^#.*\n", "", FILE.read_text(), flags=re.MULTILINE).replace("\\\n", "")
    return re.findall(rf"^{name} +(.*)$", text, re.MULTILINE)


def install(platform, tmp_path):
    """Run the build's RUN instruction with commands that print their arguments instead of doing anything."""
    (run,) = [line for line in instructions("RUN") if "pip" in line]
    stub = tmp_path / "stub"
    stub.write_text('#!/bin/sh\necho "$@"\n')
    stub.chmod(0o755)
    run = run.replace("/opt/alexnet-jax/bin/pip", str(stub)).replace("python -m venv", f"{stub} venv")
    command = ["sh", "-c", run]
    return subprocess.run(command, env={"PLATFORM": platform}, capture_output=True, text=True, check=False)


def test_sigterm_reaches_the_command():
    (entrypoint,) = instructions("ENTRYPOINT")
    assert json.loads(entrypoint) == ["alexnet-jax"]  # a list: exec form
    assert "alexnet-jax" in PROJECT["scripts"]
    assert not instructions("CMD")


def test_the_command_does_not_run_as_root():
    text = FILE.read_text()
    assert instructions("USER") == ["1000:1000"]  # a number: Kubernetes can't check runAsNonRoot for a name
    assert text.index("\nUSER ") < text.index("\nENTRYPOINT ")
    assert text.rindex("\nFROM ") < text.index("\nUSER ")


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_each_platform_has_its_extra_and_buckets(platform, tmp_path):
    done = install(platform, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    extras = set(re.search(r"/code\[(.*)\]", done.stdout)[1].split(","))
    assert extras == {"gcs"} | ({platform} - {"cpu"})
    assert extras <= {*PROJECT["optional-dependencies"]}


@pytest.mark.parametrize("platform", ["", "gpu", "CUDA"])
def test_an_unknown_platform_is_refused(platform, tmp_path):
    done = install(platform, tmp_path)
    assert done.returncode == 2
    assert done.stderr == f"PLATFORM must be cpu, cuda or tpu, not '{platform}'\n"
    assert done.stdout == ""


def test_only_what_is_installed_is_copied_and_sent():
    copied = {
        source
        for line in instructions("COPY")
        if not line.startswith("--from")
        for source in shlex.split(line)[:-1]
    }
    assert all((ROOT / source).exists() for source in copied)
    sent = FILE.with_name("Dockerfile.dockerignore").read_text().split("\n")
    assert {line.removeprefix("!") for line in sent if line.startswith("!")} == copied
    assert {PROJECT["readme"], *PROJECT["license-files"]} <= copied  # the build needs them


def test_the_image_has_a_supported_python():
    (version,) = [value.partition("=")[2] for value in instructions("ARG") if value.startswith("PYTHON")]
    assert f"Programming Language :: Python :: {version}" in PROJECT["classifiers"]
