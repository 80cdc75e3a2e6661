"""How a sweep divides a machine among the tasks that run at the same time."""

import math
import os
import subprocess
import sys

import pytest

from alexnet_jax import get_config
from alexnet_jax.sweep import slots as module
from alexnet_jax.sweep.slots import slots
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
        monkeypatch.setattr(module, "free_memory", lambda: memory)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    return machine


@pytest.mark.parametrize(
    ("tasks", "threads"), [(1, [None]), (2, ["2", "2"]), (3, ["1", "1", "1"]), (9, ["1", "1", "1", "1"])]
)
def test_cpus_are_divided_into_as_many_slots_as_cores(on, tiny, tasks, threads):
    on("cpu", 1)
    assert [slot.get("NPROC") for slot in slots([tiny] * tasks, tasks)] == threads


def test_networks_that_fill_the_memory_run_one_at_a_time(on, tiny):
    alexnet = get_config("alexnet")
    on("cpu", 1, memory=8e9)
    assert len(slots([tiny] * 4, 4)) == 4
    assert len(slots([tiny, alexnet, tiny], 3)) == 2
    on("cpu", 1, memory=1e9)
    assert slots([alexnet] * 3, 3) == [{}]


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
    assert [slot.get("CUDA_VISIBLE_DEVICES") for slot in slots([tiny] * tasks, tasks)] == expected


def test_no_more_slots_than_tasks_that_can_run_at_the_same_time(on, tiny):
    on("cpu", 1)
    assert slots([tiny] * 9, 2) == [{"NPROC": "2"}] * 2
    assert slots([tiny] * 9, 1) == [{}]


def test_a_system_that_does_not_report_its_memory(on, tiny):
    on("cpu", 1, memory=math.inf)
    assert len(slots([tiny] * 2, 2)) == 2


def test_a_mesh_may_need_a_number_of_gpus_that_is_no_power_of_two(on):
    triple = get_config(str(RECIPES / "tiny.py"))
    triple.mesh = (3, 1)
    on("gpu", 6)
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in slots([triple] * 2, 2)] == ["0,1,2", "3,4,5"]


def test_a_task_gets_the_devices_that_its_mesh_names(on):
    pair = get_config(str(RECIPES / "tiny.py"))
    pair.mesh = (-1, 2)
    on("gpu", 4)
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in slots([pair] * 8, 8)] == ["0,1", "2,3"]
    on("gpu", 1)
    assert slots([pair] * 8, 8) == [{}]  # the tasks report that there are too few devices
    on("tpu", 4)
    assert slots([pair] * 8, 8) == [{}]


def test_each_task_gets_a_tpu_chip_and_a_port(on, tiny):
    on("tpu", 4)
    assert slots([tiny] * 3, 3) == [{}]  # a task with all chips is faster than one with a single chip
    found = slots([tiny] * 9, 9)
    assert [slot["TPU_VISIBLE_DEVICES"] for slot in found] == ["0", "1", "2", "3"]
    assert len({slot["TPU_MESH_CONTROLLER_PORT"] for slot in found}) == 4


@pytest.mark.parametrize("variable", ["TPU_VISIBLE_CHIPS", "TPU_VISIBLE_DEVICES"])
def test_only_tpu_chips_that_are_visible_are_used(on, tiny, monkeypatch, variable):
    monkeypatch.setenv(variable, "2,3")
    on("tpu", 2)
    for name in ("TPU_VISIBLE_CHIPS", "TPU_VISIBLE_DEVICES"):
        assert [slot[name] for slot in slots([tiny] * 2, 2)] == ["2", "3"]


def test_a_cpu_that_xla_divides_into_devices_is_one_slot(tiny, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
    assert slots([tiny] * 2, 2) == [{}]


def test_without_usable_devices_the_tasks_report_what_is_wrong(tiny, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "nothing")
    assert slots([tiny] * 2, 2) == [{}]


def test_xla_reads_the_number_of_threads():
    code = "import jax, os; jax.devices(); print(len(os.listdir('/proc/self/task')))"
    one, nine = (
        int(subprocess.check_output([sys.executable, "-c", code], env={**os.environ, "NPROC": n}))
        for n in ("1", "9")
    )
    assert nine >= one + 8
