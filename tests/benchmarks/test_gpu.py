"""benchmarks/gpu.py: its parts, their time limits and failures, and its tables."""

import importlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest

from tests.conftest import RECIPES, ROOT


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("gpu")


@pytest.fixture
def tables(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("gpu_tables")


@pytest.fixture
def gpu_parts(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("gpu_parts")


def part(gpu, program):
    """Return a part that runs this Python program, with ``rows`` as the name of its file."""
    program = f"import sys; rows = open(sys.argv[1].removeprefix('--rows='), 'a', 1)\n{program}"
    return gpu.Part("some part", 60, (sys.executable, "-c", program))


def test_a_part_that_fails_keeps_its_rows_and_its_last_line(gpu, tmp_path):
    program = "rows.write('{\"batch_size\": 2}\\n'); sys.exit('first line\\nno device\\n')"
    rows, failure = gpu.run(part(gpu, program), 60, tmp_path, tmp_path)
    assert rows == [{"part": "some part", "batch_size": 2}]
    assert failure.reason == "status 1: no device"
    assert (tmp_path / "errors-some-part.txt").read_text() == "first line\nno device\n\n"


def test_the_reason_of_a_failure_is_the_exception_of_jax(gpu, tmp_path):
    """It has several lines, and JAX explains below how it filters tracebacks."""
    program = """
import jax
def fail():
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory\\nBufferAssignment stats")
jax.jit(fail)()
"""
    _, failure = gpu.run(part(gpu, program), 60, tmp_path, tmp_path)
    assert failure.reason.endswith("JaxRuntimeError: RESOURCE_EXHAUSTED: Out of memory")


def test_a_part_that_succeeds_leaves_no_messages(gpu, tmp_path):
    assert gpu.run(part(gpu, "print('done', file=sys.stderr)"), 60, tmp_path, tmp_path) == ([], None)
    assert not list(tmp_path.glob("errors*"))


def test_a_part_ends_at_its_time_limit_with_its_children(gpu, tmp_path):
    child = "import time; time.sleep(60)"
    program = f"""
import subprocess
child = subprocess.Popen([sys.executable, "-c", {child!r}])
rows.write('{{"child": %d}}\\n' % child.pid)
child.wait()
"""
    (row,), failure = gpu.run(part(gpu, program), 3, tmp_path, tmp_path)
    assert failure.reason == "not finished after 3 s"
    wait_for_the_end_of(row["child"])


def wait_for_the_end_of(pid):
    command = Path(f"/proc/{pid}/cmdline")
    for _ in range(100):
        if not command.exists() or not command.read_bytes():
            return  # a process that has ended has no command
        time.sleep(0.1)
    pytest.fail("it still runs")


def test_sigterm_ends_the_part_that_runs(tmp_path):
    program = f"import os, time; os.mkdir({str(tmp_path)!r} + '/%d.pid' % os.getpid()); time.sleep(60)"
    script = f"""
import sys
sys.path.insert(0, {str(ROOT / "benchmarks")!r})
import gpu
part = gpu.Part("part", 60, (sys.executable, "-c", {program!r}))
gpu.parts = lambda *_: [part, part]
gpu.main()
"""
    process = subprocess.Popen([sys.executable, "-c", script, f"--out={tmp_path}"])
    while not (started := list(tmp_path.glob("*.pid"))):
        assert process.poll() is None
        time.sleep(0.05)
    process.terminate()
    assert process.wait(60) == 128 + signal.SIGTERM
    wait_for_the_end_of(started[0].stem)


def test_the_parts_cover_every_precision_and_batch_size(gpu):
    parts = gpu.parts("alexnet.py", gpu.FULL, sys.executable, "cuda")
    flags = [
        dict(word.removeprefix("--").split("=", 1) for word in part.command if word.startswith("--"))
        for part in parts
    ]
    ours = {
        (f["precisions"], f["batch_sizes"]) for f, p in zip(flags, parts, strict=True) if "train" in p.command
    }
    assert ours == {("bfloat16", "128,512,1024,2048"), ("tf32", "128,1024"), ("float32", "128,1024")}
    theirs = {(f["mode"], f["dtype"], f["batch_size"]) for f in flags if f.get("what") == "train"}
    assert theirs == {
        ("eager", "bfloat16,tf32,float32", "128,1024"),
        (gpu.TUNED, "bfloat16", "128,1024"),
        (gpu.TUNED, "tf32", "128,1024"),
    }
    assert {word for part in parts for word in part.command} >= {
        "evaluate",
        "from_cache",
        "digest",
        "kernels",
    }


def trained(precision, batch_size, per_second, **more):
    seconds = batch_size / per_second
    row = {"precision": precision, "batch_size": batch_size, "seconds": seconds, "per_second": per_second}
    return {"part": f"train {precision}", "flops_per_second": 2e12, "compile_seconds": 3.0, **row, **more}


def test_the_tables_compare_with_the_tuned_peer_and_list_failures(tables):
    peer = {"part": "PyTorch", "what": "train", "dtype": "tf32", "batch_size": 128, "torch": "2.11"}
    rows = [
        {
            "part": "machine",
            "kind": "H100",
            "bytes_limit": None,
            "cores": 8,
            "jax": "0.12",
            "platform_version": "13",
        }
        | {"packages": {"triton": "3.9.0"}},
        {"part": "peak", "precision": "tf32", "flops_per_second": 8e12},
        trained("tf32", 128, 300.0, peak_bytes=5e9, triton_kernels=16),
        trained("bfloat16", 128, 300.0),
        {"part": "train tf32", "precision": "tf32", "batch_size": 256, "error": "RESOURCE_EXHAUSTED"},
        {**peer, "mode": "eager", "seconds": 1.28},
        {**peer, "mode": "compile", "seconds": 0.64, "peak_bytes": 4e9},
        {**peer, "mode": "eager", "dtype": "bfloat16", "seconds": 1.28},
        {**peer, "mode": "compile", "batch_size": 256, "error": "OutOfMemoryError"},
        {"part": "determinism 1", "precision": "tf32", "batch_size": 128, "seconds": 0.5, "digest": "a"},
        {"part": "determinism 2", "precision": "tf32", "batch_size": 128, "seconds": 0.5, "digest": "b"},
    ]
    made = dict(tables.tables(rows, [tables.Failure("kernels", "not finished after 50 s", 50.0)]))
    assert ["triton", "3.9.0"] in made["Machine"]
    head, *others, row = made["Training, images/s"]
    cells = dict(zip(head, row, strict=True))
    (untuned,) = others
    assert dict(zip(head, untuned, strict=True))["ours / tuned"] == ""  # PyTorch as it comes proves little
    assert cells["Triton kernels"] == "16"
    assert (cells["of the peak"], cells["PyTorch"], cells["PyTorch tuned"]) == ("0.25", "100.0", "200.0")
    assert (cells["ours / tuned"], cells["memory"], cells["ours"]) == ("1.50", "5 GB", "300.0")
    assert made["Two runs with deterministic operations"][1][2] == "no"
    assert made["Failed"][1:] == [
        ["train tf32, tf32, batch 256", "RESOURCE_EXHAUSTED"],
        ["PyTorch, tf32, compile, batch 256", "OutOfMemoryError"],
        ["kernels", "not finished after 50 s"],
    ]
    assert "Ten views, patches/s" not in made


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--only=tarin", "--only=tarin: the parts are peak, train bfloat16, "),
        ("--peer_python=/nowhere", "argument --peer_python: /nowhere is no program"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_measured(
    gpu, tmp_path, monkeypatch, capsys, option, message
):
    monkeypatch.setattr(sys, "argv", ["gpu.py", f"--out={tmp_path / 'results'}", option])
    with pytest.raises(SystemExit, match="2"):
        gpu.main()
    assert message in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_a_peer_without_pytorch_is_refused_before_anything_is_measured(gpu, tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'torch'\" >&2; exit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "argv", ["gpu.py", f"--out={tmp_path / 'results'}", f"--peer_python={python}"])
    with pytest.raises(SystemExit, match="No module named 'torch': install it, or name another Python"):
        gpu.main()
    assert not (tmp_path / "results").exists()


PROFILE = """
planes {
  name: "/host:CPU"
  lines { name: "python" events { metadata_id: 1 duration_ps: 9000000 } }
  event_metadata { key: 1 value { id: 1 name: "train" } }
}
planes {
  name: "/device:GPU:0"
  lines { name: "XLA Modules" events { metadata_id: 1 duration_ps: 9000000 } }
  lines {
    name: "Stream #13(Compute)"
    timestamp_ns: 1000
    events {
      metadata_id: 2 offset_ps: 5000000 duration_ps: 2000000
      stats { metadata_id: 1 str_value: "f.1" }
    }
  }
  event_metadata { key: 1 value { id: 1 name: "jit_update" } }
  event_metadata { key: 2 value { id: 2 name: "sm90_conv" } }
  stat_metadata { key: 1 value { id: 1 name: "hlo_op" } }
}
"""


@pytest.mark.filterwarnings(
    "ignore:builtin type event_stats:DeprecationWarning"
)  # of JAX; as an error it aborts Python
def test_kernels_of_a_gpu_are_those_of_its_streams(gpu_parts):
    content = jax.profiler.ProfileData.text_proto_to_serialized_xspace(PROFILE)
    profile = jax.profiler.ProfileData.from_serialized_xspace(content)
    (event,) = gpu_parts.executed(profile, {"f.1"}, on_gpu=True)
    assert event == ("sm90_conv", "f.1", pytest.approx(6e-6), pytest.approx(2e-6))


def test_the_work_of_a_scope_names_the_layer_and_the_direction(gpu_parts):
    names = {"pool1", "fc6"}
    work = {
        "jit(update)/transpose(jvp(fc6))/cond/branch_0_fun/dot_general": "fc6 backward: dot_general",
        "jit(update)/jvp()/cond/branch_0_fun/pool1/cond/branch_0_fun/mul": "pool1 forward: mul",
        "jit(update)/add": "add",
        "": "",
    }
    assert {scope: gpu_parts.work_of(scope, names) for scope in work} == work


@pytest.mark.slow
def test_the_benchmark_runs_on_a_cpu(tmp_path):
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), f"--out={tmp_path}", "--minutes=60"]
    options = [f"--config={RECIPES / 'tiny.py'}", "--only=peak,train bfloat16,kernels,determinism,ten views"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    results = json.loads((tmp_path / "gpu.json").read_text())
    assert results["failures"] == []
    trained = [row for row in results["rows"] if row["part"].startswith("train")]
    assert [(row["precision"], row["batch_size"]) for row in trained] == [("bfloat16", 2), ("bfloat16", 4)]
    assert all(row["per_second"] > 0 and row["program_bytes"] > 0 for row in trained)
    digests = [row["digest"] for row in results["rows"] if "digest" in row]
    assert len(digests) == 2
    assert len(set(digests)) == 1
    kernels = [row for row in results["rows"] if row["part"] == "kernels"]
    assert len(kernels) == 10
    assert [row["share"] for row in kernels] == sorted((row["share"] for row in kernels), reverse=True)
    assert "| bfloat16 | 4 |" in (tmp_path / "gpu.md").read_text()
    assert (tmp_path / "gpu.txt").read_text() in done.stdout + "\n"


@pytest.mark.slow
def test_training_from_caches_runs_on_a_cpu(tmp_path):
    command = [
        sys.executable,
        str(ROOT / "benchmarks" / "gpu.py"),
        f"--out={tmp_path}",
        "--only=from",
        "--minutes=60",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    results = json.loads((tmp_path / "gpu.json").read_text())
    assert results["failures"] == []
    assert [row.get("encoding") for row in results["rows"]] == [None, "raw", "jpeg"]
