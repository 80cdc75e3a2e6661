"""Several processes are one run: same numbers, one voice, one end."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
import pytest
from etils import epath

from alexnet_jax import UserError, restore
from alexnet_jax.files import locked
from alexnet_jax.loops.train import train
from alexnet_jax.parallel import hosts
from tests.conftest import RECIPES, ROOT, launch

pytestmark = pytest.mark.slow

TRAIN = (sys.executable, "-m", "alexnet_jax", "train", f"--config={RECIPES / 'tiny.py'}")
EVALUATE = (sys.executable, "-m", "alexnet_jax", "evaluate")


def start_training(processes, workdir, cache_dir, *flags):
    """A run in the background; returns it and the process ids, once the log has some steps."""
    long = [f"--config.{name}=1000000" for name in ("num_steps", "eval_every", "checkpoint_every")]
    command = [*TRAIN, f"--workdir={workdir}", f"--config.data.cache_dir={cache_dir}", *long, *flags]
    started = subprocess.Popen(
        [sys.executable, ROOT / "launch" / "local", str(processes), *command],
        cwd=ROOT,
        env=os.environ | {"JAX_NUM_CPU_DEVICES": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    for _ in range(1200):
        metrics = workdir / "metrics.jsonl"
        if metrics.exists() and len(metrics.read_text().splitlines()) > 3:
            break
        assert started.poll() is None, started.communicate()[0]
        time.sleep(0.05)
    pids = list(map(int, Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()))
    assert len(pids) == processes
    return started, pids


def test_sigterm_to_any_one_saves_on_all(cache_dir, tmp_path):
    started, pids = start_training(2, tmp_path, cache_dir, "--config.mesh=(1, 2)")
    os.kill(pids[1], signal.SIGTERM)
    told, _ = started.communicate(timeout=60)
    assert started.returncode == 143, told
    (line,) = re.findall(r"alexnet-jax: .*", told)  # only the first one says so
    saved = int(re.search(r"SIGTERM: saved at step (\d+) of 1000000; go on with", line)[1])
    assert restore(tmp_path).step == saved


def test_sigterm_ends_what_has_nothing_to_save(tmp_path):
    """Outside the training loop it is not noted, and not swallowed either."""
    script = (
        "import time; from alexnet_jax.parallel import hosts\n"
        "hosts.start(); print('up', flush=True); time.sleep(60)"
    )
    started = subprocess.Popen(
        [sys.executable, ROOT / "launch" / "local", "2", sys.executable, "-c", script],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert started.stdout.readline() == "up\n"
    assert started.stdout.readline() == "up\n"
    started.terminate()
    started.communicate(timeout=60)
    assert started.returncode == 143


def test_a_directory_that_is_not_shared_is_refused(monkeypatch, tmp_path):
    """As the first of two processes finds it, whose other one does not see the mark."""
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(hosts.multihost_utils, "process_allgather", lambda x: np.array([x, x & 0]))
    with pytest.raises(UserError, match="is not the same directory for all processes"):
        hosts.check_shared(epath.Path(tmp_path))


@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_is_killed_takes_the_others_down(cache_dir, tmp_path, victim):
    started, pids = start_training(2, tmp_path, cache_dir, "--config.mesh=(2, 1)")
    began = time.monotonic()
    os.kill(pids[victim], signal.SIGKILL)
    told, _ = started.communicate(timeout=60)
    assert time.monotonic() - began < 60
    assert started.returncode != 0
    assert re.search(r"\[\d\] .*(another process is gone, or|another task died)", told), told


def test_evaluation_by_two_processes_counts_every_example_once(trained, cache_dir, tmp_path):
    command = (*EVALUATE, f"--workdir={trained}", f"--config.data.cache_dir={cache_dir}")
    alone, together = tmp_path / "alone.json", tmp_path / "together.json"
    subprocess.run([*command, f"--json={alone}"], cwd=ROOT, check=True, capture_output=True)
    told = launch(2, *command, f"--json={together}", devices=6)
    assert told.count("top-1 error") == 1  # only the first one prints
    one, two = (json.loads(path.read_text()) for path in (alone, together))
    assert one["examples"] == two["examples"] == 360
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-6)
    assert (two["top1_error"], two["top5_error"]) == (one["top1_error"], one["top5_error"])


def test_processes_that_evaluate_different_things_are_refused(trained, cache_dir):
    views = (
        f"{sys.executable} -m alexnet_jax evaluate --workdir={trained} --config.data.cache_dir={cache_dir}"
    )
    told = launch(2, "bash", "-c", f"exec {views} --views=$((1 + 9 * JAX_PROCESS_ID))", devices=2, status=2)
    assert "process 1 has --views = 10, process 0 has 1: start all of them alike" in told


def test_other_meshes_go_on_and_damage_that_one_process_sees_sends_all_back(
    tiny, trained, cache_dir, tmp_path
):
    run = (*TRAIN, f"--workdir={tmp_path}", f"--config.data.cache_dir={cache_dir}")
    launch(2, *run, "--config.mesh=(1, 2)", "--config.num_steps=20", devices=2)
    shutil.rmtree(tmp_path / "checkpoints" / "20" / "opt_state" / "ocdbt.process_1")
    elsewhere = ["--config.mesh=(4, 2)", "--config.parallelism=one_weird_trick"]
    told = launch(2, *run, *elsewhere, "--config.num_steps=21")
    assert "checkpoint 20 is damaged and passed over" in told
    assert "going on at step 10 of 21" in told
    # One device of one process does the rest. (What is read has the checksums of what was written.)
    train(tiny, str(tmp_path))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [x["step"] for x in lines if x["kind"] == "train"] == [10, 20, 21, 30, 40]
    ours, theirs = restore(tmp_path), restore(trained)
    assert ours.step == theirs.step == 40
    for mine, other in zip(jax.tree.leaves(ours.params), jax.tree.leaves(theirs.params), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-5)  # the same images in the same order


def test_other_configs_are_refused_by_name(cache_dir, tmp_path):
    def command(number):
        environment = os.environ | {
            "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
            "JAX_NUM_PROCESSES": "2",
            "JAX_PROCESS_ID": str(number),
            "JAX_NUM_CPU_DEVICES": "1",
        }
        flags = [
            f"--workdir={tmp_path / 'w'}",
            f"--config.data.cache_dir={cache_dir}",
            f"--config.seed={number}",
        ]
        return subprocess.Popen(
            [*TRAIN, *flags], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
        )

    port = free_port()
    both = [command(number) for number in (0, 1)]
    for process in both:
        _, told = process.communicate(timeout=60)
        assert process.returncode == 2
        assert "process 1 has seed = 1, process 0 has 0: start all of them alike" in told
    assert not (tmp_path / "w").exists()


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def one_of_three(monkeypatch):
    """The environment of one process of three that waits a second for the others."""
    port = free_port()

    def become(number, address=f"127.0.0.1:{port}"):
        monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", address)
        monkeypatch.setenv("JAX_NUM_PROCESSES", "3")
        monkeypatch.setenv("JAX_PROCESS_ID", str(number))
        monkeypatch.setenv("ALEXNET_JAX_START_TIMEOUT", "1")
        return port

    return become


def report(port, number, count=3, seconds=5):
    return hosts._report("127.0.0.1", port, count, number, time.monotonic() + seconds)


def beside(*calls):
    """Each call in a thread of its own, begun together; a function that waits for what they return."""
    pool = ThreadPoolExecutor(len(calls))
    futures = [pool.submit(call) for call in calls]
    return lambda: [future.result(timeout=20) for future in futures]


def test_a_missing_process_is_named_by_those_that_came(one_of_three):
    port = one_of_three(0)
    answers = beside(lambda: report(port, 2))
    with pytest.raises(UserError, match=r"2 of 3 processes came in time; missing: 1 .*START_TIMEOUT=1 s"):
        hosts.start()
    assert answers() == ["2 of 3 processes came in time; missing: 1"]


def test_a_number_that_came_twice_and_another_count(one_of_three):
    port = one_of_three(0)
    answers = beside(lambda: report(port, 1), lambda: report(port, 1))
    with pytest.raises(UserError, match="two processes have the number 1"):
        hosts.start()
    assert answers() == ["two processes have the number 1"] * 2
    answers = beside(lambda: report(port, 1, count=4))
    with pytest.raises(UserError, match="process 1 was started as one of 4, process 0 as one of 3"):
        hosts.start()
    assert "one of 4" in answers()[0]


def test_strangers_do_not_disturb(one_of_three):
    """Something that connects and says nonsense, or goes away at once."""
    port = free_port()
    together = beside(
        lambda: hosts._gather(port, 3, time.monotonic() + 10),
        lambda: report(port, 1),
        lambda: (stranger(port, b"GET / HTTP/1.1\r\n\r\n"), stranger(port, b""), report(port, 2))[-1],
    )
    assert set(together()) == {hosts._ALL_CAME}


def stranger(port, says):
    for _ in range(100):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(says)
                return
        except OSError:
            time.sleep(0.02)


def test_a_coordinator_that_cannot_be_reached(one_of_three):
    one_of_three(1)
    with pytest.raises(UserError, match=r"no process 0 at 127.0.0.1:\d+: Connection refused"):
        hosts.start()
    one_of_three(1, "no-such-host.invalid:1234")
    with pytest.raises(UserError, match=r"the coordinator's host no-such-host\.invalid is not known"):
        hosts.start()


def test_somebody_else_at_the_coordinators_port(one_of_three):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer():
            server.settimeout(5)
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.sendall(b"SSH-2.0-OpenSSH_9\xff\n")

        done = beside(answer)
        one_of_three(1, f"127.0.0.1:{port}")
        with pytest.raises(UserError, match=rf"no process 0 at 127.0.0.1:{port}: something else answers"):
            hosts.start()
        one_of_three(0, f"127.0.0.1:{port}")
        with pytest.raises(UserError, match=f"port {port} can't be listened on: Address already in use"):
            hosts.start()
    done()


@pytest.mark.parametrize("address", ["localhost", ":", "localhost:port", "localhost:70000", ":1234"])
def test_half_an_environment_is_refused(one_of_three, address):
    one_of_three(1, address)
    with pytest.raises(UserError, match="several processes need all of"):
        hosts.start()


def test_a_number_that_is_not_below_the_count(one_of_three):
    one_of_three(3)
    with pytest.raises(UserError, match="JAX_PROCESS_ID=3"):
        hosts.start()


def test_a_timeout_that_is_no_number(monkeypatch):
    monkeypatch.setenv("ALEXNET_JAX_START_TIMEOUT", "soon")
    with pytest.raises(UserError, match="ALEXNET_JAX_START_TIMEOUT=soon is no number of seconds"):
        hosts.start()


def test_totals_are_added_in_float64():
    assert hosts.total(np.array([1e9 + 0.25])) == [1e9 + 0.25]


def test_two_processes_begin_with_another_net_and_one_new_layer(trained, five_classes, cache_dir, tmp_path):
    """A tower each; what is new is the same as in one process."""
    settings = (
        *(f"--config.data.cache_dir={cache_dir}", f"--config.init_from={trained}", "--config.num_steps=1"),
        *(f"--config.data.source={five_classes}", "--config.optimizer.learning_rate=0.0"),
    )
    for name, processes in (("one", 1), ("two", 2)):
        command = (*TRAIN, f"--workdir={tmp_path / name}", f"--config.mesh=(1, {processes})", *settings)
        told = launch(processes, *command, devices=processes)
        assert told.count("fc8 begins anew (5 classes, there 10)") == 1
    one, two = (restore(tmp_path / name).params for name in ("one", "two"))
    for ours, theirs in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(two["conv1"]["kernel"], restore(trained).params["conv1"]["kernel"])


def test_a_busy_workdir_is_refused_by_all_processes_alike(cache_dir, tmp_path):
    flags = (f"--workdir={tmp_path}", f"--config.data.cache_dir={cache_dir}", "--config.mesh=(2, 1)")
    with locked(tmp_path / "lock", lambda: None):
        told = launch(2, *TRAIN, *flags, devices=2, status=2)
    assert told.count(f"another process trains in {tmp_path}") == 2
