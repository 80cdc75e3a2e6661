"""The traces of JAX's profiler. The first test traces; the others replace the profiler."""

import gzip
import json
import tempfile

import jax
import jax.numpy as jnp
import pytest
from etils import epath

from alexnet_jax import files
from alexnet_jax.parallel import hosts
from alexnet_jax.training.profiler import Profiler


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder for temporary files, which is empty at the end."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", f"{tmp_path / 'temporary'}")
    yield
    assert not [*(tmp_path / "temporary").iterdir()]


@pytest.fixture
def calls(monkeypatch, temporary):
    """The calls of a profiler that writes one file."""
    found = []

    def start(folder):
        found.append("start")
        found.folder = folder

    def stop():
        found.append("stop")
        (found.folder / "plugins" / "profile" / "date").mkdir(parents=True)
        (found.folder / "plugins" / "profile" / "date" / "trace").write_text("a trace")

    class Calls(list):
        folder = None

    found = Calls()
    monkeypatch.setattr(jax.profiler, "start_trace", start)
    monkeypatch.setattr(jax.profiler, "stop_trace", stop)
    return found


def run(calls, workdir, wanted, begin, end):
    """Run the updates to the steps from ``begin`` to ``end``, and return the order of all calls."""
    profiler = Profiler(wanted, epath.Path(workdir), begin - 1)
    update = profiler.traced(lambda step: calls.append(step) or jnp.zeros(()))
    for step in range(begin, end + 1):
        update(step)
    profiler.close()
    return calls


def test_a_trace_has_the_steps_and_their_operations(tmp_path, temporary, capsys):
    profiler = Profiler("2:3", epath.Path(tmp_path / "w"), 0)
    update = profiler.traced(jax.jit(lambda x: x @ x))
    x = jnp.ones((50, 50))
    for _ in range(4):
        x = update(x)
    (folder,) = (tmp_path / "w" / "plugins" / "profile").iterdir()
    assert capsys.readouterr().out == f"profile of steps 2 to 3: {folder}\n"
    (trace,) = folder.glob("*.trace.json.gz")
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    assert {e["args"]["step_num"] for e in events if e.get("name") == "update"} == {"2", "3"}
    assert [*folder.glob("*.xplane.pb")]


@pytest.mark.parametrize(
    ("begin", "end", "expected"),
    [
        (1, 5, [1, "start", 2, 3, "stop", 4, 5]),
        (3, 5, ["start", 3, "stop", 4, 5]),  # resumed in the middle
        (1, 2, [1, "start", 2, "stop"]),  # the run ends early
        (1, 1, [1]),
        (4, 5, [4, 5]),
    ],
)
def test_a_trace_has_those_of_its_steps_that_the_run_does(calls, tmp_path, capsys, begin, end, expected):
    assert run(calls, tmp_path / "w", "2:3", begin, end) == expected
    said = capsys.readouterr().out
    if "stop" in expected:
        where = tmp_path / "w" / "plugins" / "profile" / "date"
        assert said == f"profile of steps {max(begin, 2)} to {min(end, 3)}: {where}\n"
        assert (where / "trace").read_text() == "a trace"
    elif begin == 4:
        assert said == "note: there is no profile: the run is already at step 3\n"


def raise_error(*_):
    raise OSError("No space left on device")


@pytest.mark.parametrize("where", ["start_trace", "stop_trace", "write"])
def test_a_profiler_or_a_disk_that_fails_is_a_note(calls, tmp_path, monkeypatch, capsys, where):
    monkeypatch.setattr(files if where == "write" else jax.profiler, where, raise_error)
    steps = [step for step in run(calls, tmp_path, "2:3", 1, 5) if isinstance(step, int)]
    assert steps == [1, 2, 3, 4, 5]
    assert capsys.readouterr().out == "note: there is no profile: No space left on device\n"


def test_only_the_first_process_traces(calls, tmp_path, monkeypatch):
    monkeypatch.setattr(hosts, "is_first", lambda: False)
    assert run(calls, tmp_path, "2:3", 1, 5) == [1, 2, 3, 4, 5]


def test_without_a_range_the_update_is_the_same_function(tmp_path):
    assert Profiler(None, epath.Path(tmp_path), 0).traced(raise_error) is raise_error
