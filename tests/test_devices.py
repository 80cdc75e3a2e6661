"""Without the devices that were asked for, a command ends in one line; with an unused GPU, it says so."""

import os
import subprocess
import sys

import jax
import pytest

from alexnet_jax import devices
from tests.conftest import ROOT

INSTALL = f"pip install 'jax[cuda13]=={jax.__version__}'"
DRY_RUN = ("train", "--dry_run", f"--config={ROOT / 'configs' / 'digits.py'}")


def run(script, *args, **environment):
    """Run a command in a process of its own, after the lines of ``script``."""
    script += "\nimport sys; from alexnet_jax.cli import main; sys.exit(main(sys.argv[1:]))"
    kept = {n: v for n, v in os.environ.items() if n not in ("JAX_PLATFORMS", "TPU_LIBRARY_PATH")}
    return subprocess.run(
        [sys.executable, "-c", script, *args],
        env=kept | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("platforms", "message"),
    [
        ("cuda", "JAX_PLATFORMS=cuda, but JAX is installed without CUDA: pip install 'jax[cuda13]=="),
        ("gpu", "JAX_PLATFORMS=gpu, but JAX is installed without CUDA: pip install 'jax[cuda13]=="),
        ("tpu", "JAX_PLATFORMS=tpu: Unable to initialize backend 'tpu'"),
        ("coda", "JAX_PLATFORMS=coda: Unable to initialize backend 'coda'"),
    ],
)
def test_devices_that_are_not_there_are_refused_in_one_line(platforms, message):
    hide_plugins = "import sys; sys.modules['jax_cuda12_plugin'] = sys.modules['jax_cuda13_plugin'] = None"
    done = run(hide_plugins, *DRY_RUN, JAX_PLATFORMS=platforms)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"alexnet-jax: {message}")


def test_the_first_of_several_platforms_that_works_is_used():
    done = run("", *DRY_RUN, JAX_PLATFORMS="cuda,cpu")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Make this look like a machine with or without NVIDIA's device files and JAX's CUDA plugin."""

    def build(gpu, plugin):
        (tmp_path / "nvidia0").touch()
        monkeypatch.setattr(devices, "_NVIDIA_FILES", (str(tmp_path / "nvidia0"),) if gpu else ())
        monkeypatch.setattr(devices, "_PLUGINS", ("json",) if plugin else ())
        jax.config.update("jax_platforms", None)

    yield build
    jax.config.update("jax_platforms", "cpu")


@pytest.mark.parametrize(
    ("gpu", "plugin", "message"),
    [
        (
            True,
            False,
            f"JAX does not use the GPU of this machine: {INSTALL}",
        ),
        (True, True, "JAX has CUDA, but runs on the CPU (JAX cannot use the GPU); nvidia-smi shows"),
        (False, True, "JAX has CUDA, but runs on the CPU (there is no NVIDIA driver); nvidia-smi shows"),
    ],
)
def test_an_unused_gpu_is_reported(gpu, plugin, message, machine, capfd):
    machine(gpu, plugin)
    devices.start()
    error = capfd.readouterr().err
    assert error.startswith(f"alexnet-jax: note: {message}")
    assert error.count("\n") == 1


def test_a_machine_without_a_gpu_needs_no_note(machine, capfd):
    machine(gpu=False, plugin=False)
    devices.start()
    assert capfd.readouterr().err == ""


def test_who_asks_for_the_cpu_gets_no_note(machine, capfd):
    machine(gpu=True, plugin=False)
    jax.config.update("jax_platforms", "cpu")
    devices.start()
    assert capfd.readouterr().err == ""


# What a plugin without a driver does when JAX starts: it logs an exception, with its traceback.
BROKEN_PLUGIN = """
import logging
import jax
def start():
    try:
        raise RuntimeError("Unable to load cuPTI. Is it installed?")
    except RuntimeError:
        logging.getLogger("jax._src.xla_bridge").exception("Jax plugin configuration error")
    return [type("Cpu", (), {"platform": "cpu"})]
jax.local_devices = start
from alexnet_jax import devices
devices._PLUGINS = ("json",) if WITH_PLUGIN else ()
devices._NVIDIA_FILES = ()
devices.start()
"""


def test_the_traceback_of_a_plugin_without_a_driver_becomes_one_line():
    done = run(f"WITH_PLUGIN = True\n{BROKEN_PLUGIN}", "--version")
    assert done.stderr == (
        "alexnet-jax: note: JAX has CUDA, but runs on the CPU (Unable to load cuPTI. Is it installed?);"
        " nvidia-smi shows whether the driver works\n"
    )


def test_other_messages_of_jax_are_still_printed():
    done = run(f"WITH_PLUGIN = False\n{BROKEN_PLUGIN}", "--version")
    assert "Jax plugin configuration error" in done.stderr
