"""Fixtures. Tests run on eight CPU devices. Without real data, tests on it are skipped, or fail in CI."""

import atexit
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import jax
import matplotlib
import numpy as np
import platformdirs
import pytest
from packaging.version import Version
from PIL import Image

# All tests, and the processes that they start, share the compiled programs.
os.environ["JAX_PLATFORMS"] = "cpu"
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="alexnet-jax-xla-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
# Skip LLVM's passes, which would take most of the time. XLA's own passes run: the communication depends on
# them.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"

jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
jax.config.update("jax_disable_most_optimizations", True)
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)

IN_ONEDNN = platform.machine() in ("x86_64", "AMD64") and Version(jax.__version__) >= Version("0.12")
"""Whether XLA has oneDNN."""

ROOT = Path(__file__).parent.parent
RECIPES = ROOT / "tests" / "recipes"
CONFIGS = ROOT / "configs"


ODD_NAMES = (
    "[x]",
    "*",
    "a?b",
    "back\\slash",
    "two  words",
    "two\nlines",
    "-dash",
    "50%#x",
    "'\"$HOME",
    "\udcff",
)
"""Names of files and folders that a program may take for something else."""


HOSTILE_NAMES = (
    "\x1b]0;x\x07",
    "two\nlines\r",
    "\u202egpj",
    "]]>-->",
    "<script>&amp;'\"",
    "\udcff",
    "\ufffe\0",
    r"$\frac$",
)
"""Names of classes and files that a program may take for something else when it prints or draws them."""


def pytest_addoption(parser):
    torture = parser.getgroup("torture", "the tests in tests/torture")
    torture.addoption("--minutes", type=float, default=2.0, help="minutes for all tests together")
    torture.addoption("--turns", type=int, default=1, help="least number of turns in each test")
    torture.addoption("--seed", type=int, help="seed; random by default")
    torture.addoption("--turn", type=int, help="the only turn, to repeat one that failed")


def pytest_collection_modifyitems(items):
    """Mark tests that compile for TPUs as slow, because `make test` does not download the compiler."""
    for item in items:
        if "libtpu" in item.fixturenames:
            item.add_marker(pytest.mark.slow)


def every_variant(recipe):
    """Yield the paths of a shipped recipe: without a variant, and with each of its variants."""
    nets = {"quick", "lrn18", "figure1_relu", "figure1_tanh", "local13", "local11", "towers"}
    for variant in ("", *recipe.variants):
        net = ""
        if recipe.name == "cifar10" and variant not in nets:  # the others change one of these networks
            net = "figure1_relu," if variant == "unit_pixels" else "towers,"
        yield f"{recipe.name}:{net}{variant}"


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory):
    """The default folder for caches, of the processes that tests start too."""
    os.environ["MPLCONFIGDIR"] = matplotlib.get_cachedir()  # it lies in the same folder by default
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    return platformdirs.user_cache_dir("alexnet-jax")


@pytest.fixture
def tiny(cache_dir):
    """The config of a small two-tower network on the digits, ready to run on one device."""
    from alexnet_jax import get_config

    config = get_config(f"{RECIPES / 'tiny.py'}")
    config.data.cache_dir = cache_dir
    return config


@pytest.fixture
def cifar10_dir():
    """The folder in which TFDS has prepared CIFAR-10."""
    root = os.environ.get("TFDS_DATA_DIR")
    if root and list(Path(root).glob("cifar10/*/dataset_info.json")):
        return root
    message = "TFDS_DATA_DIR does not hold cifar10: tests on real images are skipped"
    if os.environ.get("ALEXNET_JAX_NO_SKIPS"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture
def originals():
    """ImageNet's own files, as they were published."""
    root = os.environ.get("ALEXNET_JAX_IMAGES")
    found = sorted(Path(root, "ilsvrc_originals").rglob("*.JPEG")) if root else []
    if found:
        return found
    message = "ALEXNET_JAX_IMAGES does not hold ilsvrc_originals: tests on real photographs are left out"
    if os.environ.get("ALEXNET_JAX_NO_SKIPS"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def trained(tmp_path_factory, cache_dir):
    """A workdir in which the tiny recipe was trained to its end; tests only read it."""
    from alexnet_jax import get_config
    from alexnet_jax.loops.train import train

    config = get_config(f"{RECIPES / 'tiny.py'}")
    config.data.cache_dir = cache_dir
    workdir = tmp_path_factory.mktemp("trained")
    train(config, str(workdir))
    return workdir


@pytest.fixture(scope="session")
def _emulator(tmp_path_factory):
    from tests.bucket import Emulator

    emulator = Emulator(tmp_path_factory.mktemp("storage"))
    yield emulator
    emulator.stop()


@pytest.fixture
def emulator(_emulator, monkeypatch):
    """A storage server with a bucket, for this process and those that it starts."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", _emulator.address)
    monkeypatch.setenv("TENSORSTORE_GCS_HTTP_URL", _emulator.address)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("GOOGLE_AUTH_TOKEN_FOR_TESTING", "none")
    monkeypatch.setattr("alexnet_jax.remote.bucket.FileSystem._next_note", 0.0)
    return _emulator


@pytest.fixture
def bucket(emulator, request):
    """The URL of a new directory in the bucket."""
    from tests.bucket import NAME

    return f"gs://{NAME}/{re.sub('[^a-z0-9_]', '-', request.node.name)}"


@pytest.fixture
def five_classes(tmp_path):
    """The source of a folder with photographs of five classes, half as many as the digits have. All train."""
    random = np.random.default_rng(0)
    for name in "abcde":
        (tmp_path / "photographs" / "train" / name).mkdir(parents=True)
        for i in range(10):
            pixels = random.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photographs" / "train" / name / f"{i}.png")
    return f"folder:{tmp_path / 'photographs'}"


@pytest.fixture
def libtpu():
    """The compiler for TPUs, with all its optimizations. It needs no TPU."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield _find_libtpu()
    jax.config.update("jax_disable_most_optimizations", True)


def _find_libtpu():
    if not os.environ.get("TPU_LIBRARY_PATH") and find_spec("libtpu") is None:
        message = "libtpu is not installed (make test-all downloads it): tests for TPUs are skipped"
        if os.environ.get("ALEXNET_JAX_NO_SKIPS"):
            pytest.fail(message)
        pytest.skip(message)


STEPS = re.compile(
    r"starting JAX|reading the logs of the sweep \S+"
    r"|reading (the (last|best) checkpoint|checkpoint \w+) of \S+"
    r"|evaluating [\d,]+ images of \w+, (1 view|10 views) of each"
    r"|[\d,]+ photographs, [\d,]+ objects, \d+ classes|peak memory [\d.]+ \wB"
    r"|searching [\d,]+ training images for the nearest to \d+ images of \w+"
)


def error_lines(err):
    """Return the lines that begin with the command's name, and check that every other line names a step."""
    lines = err.splitlines()
    found = [line for line in lines if line.startswith("alexnet-jax: ")]
    others = [line for line in lines if line not in found]
    assert [line for line in others if not STEPS.fullmatch(line)] == []
    return found


def launch(processes, *command, status=0, devices=8):
    """Run ``launch/local`` to its end, and return its output, including errors.

    ``devices`` is the number of devices of all processes together.
    """
    done = subprocess.run(
        [sys.executable, ROOT / "launch" / "local", str(processes), *map(str, command)],
        env=os.environ | {"JAX_NUM_CPU_DEVICES": str(devices // processes)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == status, done.stdout
    return done.stdout


def free_port():
    """Return a port of this machine that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
