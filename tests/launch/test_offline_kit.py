"""launch/offline-kit with an index of small packages on this machine: what it installs, keeps and refuses."""

import ensurepip
import functools
import http.server
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT

SCRIPT = ROOT / "launch" / "offline-kit"
VERSION = ".".join(map(str, sys.version_info[:2]))
PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "net-jax"
version = "1"
"""
PROJECT = f"""
classifiers = [
    "Programming Language :: Python :: 3.9",
    "Programming Language :: Python :: {VERSION}",
]
dependencies = ["jax>=0.10", "old_package>=2"]
[project.optional-dependencies]
cuda = ["plugin"]
jpeg = ["compiled"]
source = ["source"]
none = ["nowhere"]
newer = ["newer"]
"""
BACKEND = """
import pathlib, shutil

def build_wheel(folder, config_settings=None, metadata_directory=None):
    (wheel,) = pathlib.Path(__file__).parent.glob("*.whl")
    return shutil.copy(wheel, folder).rpartition("/")[2]
"""


def write_wheel(folder, name, version, *requires, tag="py3-none-any"):
    """Write a wheel with one module, whose attribute ``version`` is the version."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    requires = "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
    files = {
        f"{name}.py": f"version = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.2\nName: {name}\nVersion: {version}\n{requires}",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    record = "".join(f"{file},,\n" for file in (*files, f"{info}/RECORD"))
    path = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for file, text in (files | {f"{info}/RECORD": record}).items():
            wheel.writestr(file, text)
    return path


def write_project(folder, name, version, *requires, tag="py3-none-any"):
    """Write a folder that a build turns into a wheel of this tag."""
    write_wheel(folder, name, version, *requires, tag=tag)
    (folder / "backend.py").write_text(BACKEND)
    (folder / "pyproject.toml").write_text(PYPROJECT.replace("net-jax", name))
    metadata = f"Metadata-Version: 2.2\nName: {name}\nVersion: {version}\n"
    (folder / "PKG-INFO").write_text(metadata)
    return folder


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """Serve packages as a package index does. Yield its folder and its address."""
    folder = tmp_path_factory.mktemp("index")
    for version in ("0.9", "0.10.5", "0.11", "0.12"):
        write_wheel(folder / "jax", "jax", version)
    for version in ("1", "2", "3"):
        write_wheel(folder / "old-package", "old_package", version)
    write_wheel(folder / "plugin", "plugin", "1")
    write_wheel(folder / "newer", "newer", "1", tag="py3-none-manylinux_2_39_x86_64")
    for python in ("cp39", VERSION.replace("3.", "cp3")):
        for machine in ("manylinux_2_28_x86_64", "manylinux_2_17_aarch64", "manylinux_2_39_x86_64"):
            write_wheel(folder / "compiled", "compiled", "1", tag=f"{python}-{python}-{machine}")
    (pip,) = (Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl")
    (folder / "pip").mkdir()
    shutil.copy(pip, folder / "pip")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Handler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def project(tmp_path):
    """A repository with the script. All its requirements are in the index."""
    folder = write_project(
        tmp_path / "project", "net_jax", "1", "jax>=0.10", "old_package>=2", 'plugin; extra == "cuda"'
    )
    (folder / "pyproject.toml").write_text(PYPROJECT + PROJECT)
    (folder / "requirements.txt").write_text("jax==0.11 ; python_full_version >= '3.9'\nother==1\n")
    (folder / "launch").mkdir()
    shutil.copy(SCRIPT, folder / "launch")
    return folder


def run(*command, index="http://127.0.0.1:9", **variables):
    environment = {"PATH": os.environ["PATH"], "PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": index}
    environment |= {
        "UV_DEFAULT_INDEX": index,
        "UV_NO_CONFIG": "1",
        "UV_NO_CACHE": "1",
        "UV_HTTP_RETRIES": "0",
    }
    return subprocess.run(command, env=environment | variables, capture_output=True, text=True, check=False)


def make(project, kit, *arguments, index):
    """Make a kit. Return the names and versions of its wheels, without those of pip and the project."""
    done = run(sys.executable, project / "launch" / "offline-kit", "make", kit, *arguments, index=index[1])
    assert (done.returncode, done.stderr) == (0, "")
    wheels = {tuple(path.name.split("-")[:2]) for path in (kit / "wheels").iterdir()}
    assert {name for name, _ in wheels} >= {"pip", "net_jax"}
    return {f"{name} {version}" for name, version in wheels if name not in ("pip", "net_jax")}


def machine(folder, index, **packages):
    """Create a Python that has these packages, and no pip. Return its command."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    unpack(folder, index, **packages)
    return folder / "bin" / "python"


def unpack(folder, index, **packages):
    """Install packages below a prefix."""
    for name, version in packages.items():
        (wheel,) = (index[0] / name.replace("_", "-")).glob(f"*-{version}-*")
        with zipfile.ZipFile(wheel) as file:
            file.extractall(folder / "lib" / f"python{VERSION}" / "site-packages")


def installed(python, **variables):
    """Return the versions that programs of this Python import."""
    code = "import jax, old_package; print(jax.version, old_package.version)"
    return run(python, "-c", code, **variables).stdout.split()


def assert_refused(done, message):
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("offline-kit: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_bare_machine_gets_all_packages_in_the_versions_of_requirements_txt(project, tmp_path, index):
    kit, venv = tmp_path / "kit", tmp_path / "venv"
    assert make(project, kit, index=index) == {"jax 0.11", "old_package 3"}
    shutil.rmtree(project)
    kit = kit.rename(tmp_path / "copied [kit] %20")
    bare = machine(tmp_path / "bare", index)
    done = run(bare, kit / "offline-kit", "install", venv, PIP_NO_DEPS="1")  # the user's options of pip
    assert (done.returncode, done.stderr) == (0, "")
    assert installed(venv / "bin" / "python") == ["0.11", "3"]
    assert run(venv / "bin" / "python", "-c", "import net_jax").returncode == 0


@pytest.mark.parametrize("virtual", [True, False])
def test_the_machine_keeps_its_own_packages_that_satisfy_the_project(virtual, project, tmp_path, index):
    kit, venv = tmp_path / "kit", tmp_path / "venv"
    make(project, kit, index=index)
    if virtual:
        own, variables = machine(tmp_path / "own", index, jax="0.10.5", old_package="1"), {}
    else:  # the Python below this environment, with packages in the user's folder
        own, variables = Path(sys.base_prefix) / "bin" / f"python{VERSION}", {"PYTHONUSERBASE": str(tmp_path)}
        unpack(tmp_path, index, jax="0.10.5", old_package="1")
    done = run(own, kit / "offline-kit", "install", venv, **variables)
    assert (done.returncode, done.stderr) == (0, "")
    assert installed(venv / "bin" / "python", **variables) == ["0.10.5", "3"]
    assert installed(own, **variables) == ["0.10.5", "1"]  # nothing has changed there
    assert "old_package 3 instead of this machine's 1" in done.stdout.replace("old-package", "old_package")
    assert "jax 0" not in done.stdout


def test_the_kit_leaves_out_packages_of_the_machine_that_satisfy_the_project(project, tmp_path, index):
    kit, have = tmp_path / "kit", tmp_path / "have.txt"
    have.write_text("folder @ file:///folder\nodd==1.0-ubuntu_2\nOld.Package==1\njax==0.10.5\n")
    assert make(project, kit, "--have", have, index=index) == {"old_package 3"}
    own = machine(tmp_path / "own", index, jax="0.10.5", old_package="1")
    assert run(own, kit / "offline-kit", "install", tmp_path / "venv").returncode == 0
    assert installed(tmp_path / "venv" / "bin" / "python") == ["0.10.5", "3"]

    # Another machine lacks JAX, which the list has. `install` must not get it from the index.
    done = run(
        machine(tmp_path / "bare", index),
        kit / "offline-kit",
        "install",
        tmp_path / "bare_venv",
        index=index[1],
    )
    assert_refused(done, "this machine lacks jax>=0.10, and the kit has none that fits")
    assert not (tmp_path / "bare_venv").exists()


def test_extras_add_wheels_for_the_python_and_the_machine_of_the_target(project, tmp_path, index):
    kit = tmp_path / "kit"
    extras = ("--extra=cuda", "--extra=jpeg")
    assert {"plugin 1", "compiled 1"} <= make(project, kit, *extras, "--python=3.9", index=index)
    (compiled,) = (kit / "wheels").glob("compiled-*")
    assert compiled.name == "compiled-1-cp39-cp39-manylinux_2_28_x86_64.whl"
    make(project, kit, *extras, "--machine=aarch64", index=index)  # replaces the older kit
    (compiled,) = (kit / "wheels").glob("compiled-*")
    assert compiled.name.endswith("-manylinux_2_17_aarch64.whl")
    make(project, kit, *extras, "--glibc=2.39", index=index)
    (compiled,) = (kit / "wheels").glob("compiled-*")
    assert compiled.name.endswith("-manylinux_2_39_x86_64.whl")


def test_a_package_without_wheels_is_built_if_any_machine_can_run_it(project, tmp_path, index):
    kit, folder = tmp_path / "kit", index[0] / "source"
    folder.mkdir(exist_ok=True)
    with tarfile.open(folder / "source-1.tar.gz", "w:gz") as sdist:
        sdist.add(write_project(tmp_path / "pure", "source", "1"), "source-1")
    assert "source 1" in make(project, kit, "--extra=source", index=index)
    assert {path.suffix for path in (kit / "wheels").iterdir()} == {".whl"}

    before = (kit / "kit.json").read_text()
    with tarfile.open(folder / "source-1.tar.gz", "w:gz") as sdist:
        sdist.add(write_project(tmp_path / "built", "source", "1", tag="cp39-cp39-linux_x86_64"), "source-1")
    command = (sys.executable, project / "launch" / "offline-kit", "make", kit, "--extra=source")
    assert_refused(run(*command, index=index[1]), "there is no wheel like source-1-cp39")
    assert (kit / "kit.json").read_text() == before  # the older kit stays
    assert {path.name for path in tmp_path.glob("kit*")} == {"kit"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "the verb must be make or install"),
        (("make",), "KIT"),
        (("make", "kit", "--extra=gpu"), "--extra must be one of tensorflow, heic, "),
        (("make", "kit", "--python=3.9"), "alexnet-jax does not support Python 3.9"),
        (("make", "kit", "--machine=arm"), "--machine"),
        (("make", "full"), "full exists and is not a kit"),
        (("make", "kit", "--have=absent.txt"), "absent.txt"),
        (("make", "kit", "--have=full/file"), "full/file has no line NAME==VERSION"),
        (("make", "kit"), "the package index can't be reached: run make on a machine with a network"),
        (("install", "venv"), "launch is not a kit"),
    ],
)
def test_wrong_arguments_and_no_network_are_refused_in_one_line(arguments, message, tmp_path, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    monkeypatch.chdir(tmp_path)
    assert_refused(run(sys.executable, SCRIPT, *arguments), message)
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("none", "nowhere was not found"),
        ("newer", "available for `newer` (v1) on the following platform: `many"),
    ],
)
def test_a_requirement_for_which_no_wheel_fits_is_named(extra, message, project, tmp_path, index):
    command = (
        sys.executable,
        project / "launch" / "offline-kit",
        "make",
        tmp_path / "kit",
        f"--extra={extra}",
    )
    assert_refused(run(*command, index=index[1]), message)


def test_make_reports_that_uv_is_missing(project, tmp_path, index):
    done = run(
        machine(tmp_path / "bare", index), project / "launch" / "offline-kit", "make", tmp_path / "kit"
    )
    assert_refused(done, "make needs Python 3.11 with uv and pip")


def test_a_kit_that_does_not_fit_or_is_damaged_is_refused(project, tmp_path, index):
    kit, venv = tmp_path / "kit", tmp_path / "venv"
    make(project, kit, index=index)
    command = (sys.executable, kit / "offline-kit", "install", venv)
    venv.mkdir()
    assert_refused(run(*command), "venv exists: remove it")
    venv.rmdir()

    about = (kit / "kit.json").read_text()
    for key, value in ("python", "3.9"), ("machine", "riscv64"):
        (kit / "kit.json").write_text(json.dumps(json.loads(about) | {key: value}))
        assert_refused(run(*command), f"this is Python {VERSION} on ")
    (kit / "kit.json").write_text(about)

    wheel = next((kit / "wheels").glob("jax-*"))
    with wheel.open("r+b") as file:
        file.write(b"damage")
    assert_refused(run(*command), f"{wheel} is missing or damaged: copy the kit again")
    wheel.unlink()
    assert_refused(run(*command), f"{wheel} is missing or damaged: copy the kit again")
    (kit / "kit.json").unlink()
    assert_refused(run(*command), f"{kit} is not a kit")
    assert_refused(run(*command[:2], "make", venv), "make needs the repository")
    assert not venv.exists()
