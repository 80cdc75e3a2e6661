"""Without the requested devices, a command ends with one line. An unused GPU is reported in a note."""

import os
import subprocess
import sys

import jax
import pytest

from alexnet_jax.runtime import devices
from tests.conftest import ROOT, launch

INSTALL = f"{sys.executable} -m pip install 'jax[cuda13]=={jax.__version__}'"
PLUGIN = "JAX's CUDA plugin is installed, but JAX runs on the CPU"
DRY_RUN = ("train", "--dry_run", f"--config={ROOT / 'configs' / 'digits.py'}")
HIDE_CUDA = "import sys; sys.modules['jax_cuda12_plugin'] = sys.modules['jax_cuda13_plugin'] = None\n"
HAVE_CUDA = "import alexnet_jax.runtime.devices as devices; devices._PLUGINS = ('json',)\n"


def run(script, **environment):
    """Run a dry run in a new process, after the lines of ``script``."""
    script += "import sys; from alexnet_jax.cli.main import main; sys.exit(main(sys.argv[1:]))"
    kept = {n: v for n, v in os.environ.items() if n not in ("JAX_PLATFORMS", "TPU_LIBRARY_PATH")}
    command = [sys.executable, "-c", script, *DRY_RUN]
    return subprocess.run(command, env=kept | environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("platforms", "message"),
    [
        (
            "cuda",
            f"JAX_PLATFORMS=cuda, but JAX is installed without CUDA: {INSTALL}, or unset JAX_PLATFORMS\n",
        ),
        ("gpu", f"JAX_PLATFORMS=gpu, but JAX is installed without CUDA: {INSTALL}"),
        ("tpu", "JAX_PLATFORMS=tpu: Unable to initialize backend 'tpu'"),
        ("coda", "JAX_PLATFORMS=coda: Unable to initialize backend 'coda'"),
    ],
)
def test_missing_devices_are_refused_in_one_line(platforms, message):
    done = run(HIDE_CUDA, JAX_PLATFORMS=platforms)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"alexnet-jax: {message}")


@pytest.mark.slow
def test_each_process_reports_missing_devices():
    command = ("env", "JAX_PLATFORMS=coda", sys.executable, "-m", "alexnet_jax", *DRY_RUN)
    printed = launch(2, *command, status=2)
    assert printed.count("JAX_PLATFORMS=coda: Unable to initialize backend 'coda'") == 2
    assert "Traceback" not in printed


def test_the_first_of_several_platforms_that_works_is_used():
    done = run(HIDE_CUDA, JAX_PLATFORMS="cuda,cpu")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A function that simulates a machine with or without NVIDIA's device files and JAX's CUDA plugin."""
    jax.devices()  # on the CPU, before JAX_PLATFORMS looks unset

    def build(gpu, plugin, platforms=None):
        (tmp_path / "nvidia0").touch()
        monkeypatch.setattr(devices, "_NVIDIA_FILES", (str(tmp_path / "nvidia0"),) if gpu else ())
        monkeypatch.setattr(devices, "_PLUGINS", ("json",) if plugin else ())
        jax.config.update("jax_platforms", platforms)
        devices.all_devices.cache_clear()
        devices.all_devices()

    yield build
    jax.config.update("jax_platforms", "cpu")


@pytest.mark.parametrize(
    ("gpu", "plugin", "message"),
    [
        (True, False, f"JAX does not use the GPU of this machine: {INSTALL}"),
        (
            True,
            True,
            f"{PLUGIN} (JAX cannot use the GPU): check that nvidia-smi",
        ),
        (
            False,
            True,
            f"{PLUGIN} (there is no NVIDIA driver): check that nvidia-smi",
        ),
    ],
)
@pytest.mark.parametrize("platforms", [None, "cuda,cpu"])
def test_an_unused_gpu_is_reported_once(gpu, plugin, message, platforms, machine, capfd):
    machine(gpu, plugin, platforms)
    devices.all_devices()
    error = capfd.readouterr().err
    assert error.startswith(f"alexnet-jax: note: {message}")
    assert error.count("\n") == 1


def test_there_is_no_note_on_a_machine_without_a_gpu(machine, capfd):
    machine(gpu=False, plugin=False)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("platforms", ["cpu", "tpu,cpu"])
def test_there_is_no_note_if_jax_platforms_excludes_gpus(platforms, machine, capfd):
    machine(gpu=True, plugin=True, platforms=platforms)
    assert capfd.readouterr().err == ""


def broken_plugin(tmp_path, name, error):
    """Write a plugin that fails, as the CUDA plugin does without a driver, and return a PYTHONPATH for it."""
    (tmp_path / "jax_plugins" / name).mkdir(parents=True)
    (tmp_path / "jax_plugins" / name / "__init__.py").write_text(f"def initialize(): raise {error}\n")
    return os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            "RuntimeError('Unable to load cuPTI.\\nIs it installed?')",
            "Unable to load cuPTI. Is it installed?",
        ),
        ("RuntimeError()", "RuntimeError"),
    ],
)
def test_the_traceback_of_a_plugin_without_a_driver_becomes_one_line(tmp_path, error, reason):
    path = broken_plugin(tmp_path, "xla_cuda99", error)
    error = run(HAVE_CUDA, PYTHONPATH=path).stderr
    assert error.startswith(f"alexnet-jax: note: {PLUGIN} ({reason}): check that nvidia-smi")
    assert error.count("\n") == 1
    refused = run(HAVE_CUDA, PYTHONPATH=path, JAX_PLATFORMS="cuda")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert f"JAX_PLATFORMS=cuda, but JAX cannot use a GPU ({reason}): check that" in refused.stderr


BUSY_GPU = """
from jax._src import hardware_utils, xla_bridge

def fail():
    raise RuntimeError("INTERNAL: no supported devices found for platform CUDA: failed call to"
                       " cuDevicePrimaryCtxRetain: CUDA_ERROR_OUT_OF_MEMORY: out of memory; total memory"
                       " reported: 34089730048")

def initialize():
    hardware_utils.has_visible_nvidia_gpu = lambda: True
    xla_bridge.register_backend_factory("cuda", fail, priority=500, fail_quietly=False)
"""


@pytest.mark.parametrize("platforms", [{}, {"JAX_PLATFORMS": "cuda"}])
def test_a_gpu_that_another_process_uses_is_refused_in_one_line(tmp_path, platforms):
    path = broken_plugin(tmp_path, "xla_cuda99", "")
    (tmp_path / "jax_plugins" / "xla_cuda99" / "__init__.py").write_text(BUSY_GPU)
    done = run(HAVE_CUDA, PYTHONPATH=path, **platforms)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("alexnet-jax: another process probably uses the GPU (no supported devices")
    assert "CUDA_ERROR_OUT_OF_MEMORY" in done.stderr
    assert "find it with nvidia-smi and end it" in done.stderr


def test_logs_about_other_plugins_are_printed(tmp_path):
    path = broken_plugin(tmp_path, "another", "RuntimeError('boom')")
    done = run(HAVE_CUDA, PYTHONPATH=path)
    assert f"alexnet-jax: note: {PLUGIN} (there is no NVIDIA driver)" in done.stderr
    assert done.stderr.count("RuntimeError: boom") == 1
    assert (
        run(HAVE_CUDA, PYTHONPATH=path, JAX_LOGGING_LEVEL="WARNING").stderr.count("RuntimeError: boom") == 2
    )
