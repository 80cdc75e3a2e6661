"""The cores and the memory that a container allows."""

import math

import pytest

from alexnet_jax.runtime import limits

GIB = 2**30


@pytest.fixture
def pod(tmp_path, monkeypatch):
    """A control group, pod/container, on a machine with 64 cores and 500 GiB."""
    monkeypatch.setattr(limits, "_CGROUPS", tmp_path)
    monkeypatch.setattr(limits, "_OWN", tmp_path / "own")
    monkeypatch.setattr(limits, "_MEMORY", tmp_path / "meminfo")
    monkeypatch.delenv("NPROC", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(64), raising=False)
    (tmp_path / "own").write_text("4:memory:/old\n0::/pod/container\n")
    (tmp_path / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable:  {500 * 2**20} kB\n")
    (tmp_path / "pod" / "container").mkdir(parents=True)
    return tmp_path / "pod"


def limit(group, most, current, cached=(0, 0)):
    (group / "memory.max").write_text(f"{most}\n")
    (group / "memory.current").write_text(f"{current}\n")
    inactive, active = cached
    (group / "memory.stat").write_text(f"anon 5\ninactive_file {inactive}\nactive_file {active}\nslab 7\n")


def test_without_limits_all_cores_and_the_memory_of_the_machine(pod):
    (pod / "cpu.max").write_text("max 100000\n")
    limit(pod, "max", 5 * GIB)
    assert limits.cores() == 64
    assert limits.free_memory() == 500 * GIB


@pytest.mark.parametrize("group", ["", "container"])
@pytest.mark.parametrize(("quota", "cores"), [(400_000, 4), (150_000, 1), (50_000, 1)])
def test_a_quota_of_a_group_or_of_one_above_it(pod, group, quota, cores):
    (pod / group / "cpu.max").write_text(f"{quota} 100000\n")
    assert limits.cores() == cores


@pytest.mark.parametrize(("number", "cores"), [("3", 3), ("100", 64), ("0", 1), ("", 64), ("x", 64)])
def test_nproc_lowers_the_number_of_cores(pod, monkeypatch, number, cores):
    monkeypatch.setenv("NPROC", number)
    assert limits.cores() == cores


@pytest.mark.parametrize("group", ["", "container"])
def test_the_memory_that_a_group_leaves_without_its_file_cache(pod, group):
    limit(pod / group, 8 * GIB, 5 * GIB, cached=(GIB, 2 * GIB))
    assert limits.free_memory() == 6 * GIB


def test_the_limits_of_a_container_that_sees_itself_as_the_root(pod, monkeypatch):
    monkeypatch.setattr(limits, "_CGROUPS", pod)
    limits._OWN.write_text("0::/\n")
    limit(pod, 8 * GIB, 5 * GIB)
    (pod / "cpu.max").write_text("200000 100000\n")
    assert (limits.cores(), limits.free_memory()) == (2, 3 * GIB)


def test_a_system_without_these_files(pod):
    for name in ("own", "meminfo"):
        (pod.parent / name).unlink()
    assert limits.free_memory() == math.inf
    assert limits.cores() == 64
