"""How a sweep divides a machine among the tasks that run at the same time."""

import os
import subprocess
import sys

import pytest

from alexnet_jax import get_config
from alexnet_jax.sweep import places as module
from alexnet_jax.sweep.places import places
from tests.conftest import RECIPES


@pytest.fixture(scope="module")
def tiny():
    return get_config(str(RECIPES / "tiny.py"))


@pytest.fixture
def on(monkeypatch):
    """Return a function that pretends to be on another machine."""

    def machine(platform, chips, cores=4, memory=1e12, visible=None):
        monkeypatch.setattr(module, "_devices", lambda: (platform, chips))
        monkeypatch.setattr(module, "cores", lambda: cores)
        monkeypatch.setattr(module, "_free_memory", lambda: memory)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    return machine


@pytest.mark.parametrize(
    ("tasks", "threads"), [(1, [None]), (2, ["2", "2"]), (3, ["1", "1", "1"]), (9, ["1", "1", "1", "1"])]
)
def test_cpus_are_divided_into_as_many_places_as_cores(on, tiny, tasks, threads):
    on("cpu", 1)
    assert [place.get("NPROC") for place in places([tiny] * tasks)] == threads


def test_networks_that_fill_the_memory_run_one_at_a_time(on, tiny):
    alexnet = get_config("alexnet")
    on("cpu", 1, memory=8e9)
    assert len(places([tiny] * 4)) == 4
    assert len(places([tiny, alexnet, tiny])) == 2
    on("cpu", 1, memory=1e9)
    assert places([alexnet] * 3) == [{}]


@pytest.mark.parametrize(
    ("tasks", "chips", "visible", "expected"),
    [
        (2, 2, None, ["0", "1"]),
        (2, 4, "4,5,6,7", ["4,5", "6,7"]),
        (3, 8, None, ["0,1", "2,3", "4,5"]),
        (2, 7, None, ["0,1", "2,3"]),  # 3 would not divide a batch of 128
        (2, 2, "GPU-a,GPU-b", ["GPU-a", "GPU-b"]),
        (5, 1, None, [None]),
    ],
)
def test_each_task_sees_its_gpus_only(on, tiny, tasks, chips, visible, expected):
    on("gpu", chips, visible=visible)
    assert [place.get("CUDA_VISIBLE_DEVICES") for place in places([tiny] * tasks)] == expected


def test_a_task_gets_the_devices_that_its_mesh_names(on):
    pair = get_config(str(RECIPES / "tiny.py"))
    pair.mesh = (-1, 2)
    on("gpu", 4)
    assert [place["CUDA_VISIBLE_DEVICES"] for place in places([pair] * 8)] == ["0,1", "2,3"]
    on("gpu", 1)
    assert places([pair] * 8) == [{}]  # the tasks say that there are too few devices
    on("tpu", 4)
    assert places([pair] * 8) == [{}]


def test_each_task_gets_a_tpu_chip_and_a_port(on, tiny):
    on("tpu", 4)
    found = places([tiny] * 9)
    assert [place["TPU_VISIBLE_DEVICES"] for place in found] == ["0", "1", "2", "3"]
    assert len({place["TPU_MESH_CONTROLLER_PORT"] for place in found}) == 4


def test_a_cpu_that_xla_divides_into_devices_is_one_place(tiny, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
    assert places([tiny] * 2) == [{}]


def test_without_usable_devices_the_tasks_say_what_is_wrong(tiny, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "nothing")
    assert places([tiny] * 2) == [{}]


def test_xla_reads_the_number_of_threads():
    code = "import jax, os; jax.devices(); print(len(os.listdir('/proc/self/task')))"
    one, nine = (
        int(subprocess.check_output([sys.executable, "-c", code], env={**os.environ, "NPROC": n}))
        for n in ("1", "9")
    )
    assert nine >= one + 8
