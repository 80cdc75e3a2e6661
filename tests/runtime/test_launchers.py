"""A process learns from its launcher which one of several it is."""

import pytest

from alexnet_jax import UserError
from alexnet_jax.runtime import launchers
from alexnet_jax.runtime.launchers import Member, started_as

SLURM = {
    "SLURM_JOB_ID": "5",
    "SLURM_STEP_NODELIST": "node[07-09],other",
    "SLURM_NTASKS": "4",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_PROCID": "2",
    "SLURM_LOCALID": "1",
}
OPEN_MPI = {
    "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911",
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_RANK": "0",
}
JAX = {"JAX_COORDINATOR_ADDRESS": "host0:1234", "JAX_NUM_PROCESSES": "3", "JAX_PROCESS_ID": "2"}


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in {**SLURM, **OPEN_MPI, **JAX}:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def environment(monkeypatch):
    """Set variables."""

    def use(variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return use


def test_a_process_without_a_launcher_is_the_only_one():
    assert started_as(1) is None
    assert launchers.is_first()
    assert not launchers.is_one_of_several()


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [("host0:1234", "host0", 1234), ("10.0.0.1:8", "10.0.0.1", 8), ("[2001:db8::1]:80", "2001:db8::1", 80)],
)
def test_the_variables_of_jax(environment, address, host, port):
    environment(JAX | {"JAX_COORDINATOR_ADDRESS": address})
    assert started_as(1) == Member(host, port, 3, 2, None)
    assert launchers.is_one_of_several()
    assert not launchers.is_first()


def test_slurm(environment):
    environment(SLURM)
    assert started_as(1) == Member("node07", 61445, 4, 2, 1)
    assert launchers.is_one_of_several()
    assert not launchers.is_first()


def test_the_variables_of_jax_come_before_those_of_slurm(environment):
    environment(SLURM | JAX)
    assert started_as(1) == Member("host0", 1234, 3, 2, None)


@pytest.mark.parametrize("changed", [{"SLURM_STEP_NUM_TASKS": "1"}, {"SLURM_NTASKS": "1"}])
def test_one_task_of_slurm_is_alone(environment, changed):
    environment(SLURM | changed)
    assert started_as(1) is None


def test_open_mpi(environment):
    environment(OPEN_MPI)
    member = started_as(1)
    assert (member.host, member.count, member.number, member.local) == ("10.96.0.1", 2, 1, 0)


def test_tpu_hosts_of_kubernetes(environment, monkeypatch):
    """As on GKE: JAX detects TPUs, and the variables are those of the pods of a slice."""
    from jax._src.clusters import cloud_tpu_cluster

    monkeypatch.setattr(cloud_tpu_cluster, "running_in_cloud_tpu_vm", True)
    monkeypatch.setenv("TPU_SKIP_MDS_QUERY", "1")
    monkeypatch.setenv("MEGASCALE_NUM_SLICES", "2")
    monkeypatch.setenv("MEGASCALE_SLICE_ID", "1")
    monkeypatch.setenv("MEGASCALE_COORDINATOR_ADDRESS", "localhost:8080")
    environment({"TPU_WORKER_HOSTNAMES": "localhost,b,c,d", "TPU_WORKER_ID": "3"})
    assert started_as(1) == Member("localhost", 8482, 8, 7, None)


def test_a_tpu_vm(monkeypatch):
    """The metadata of the virtual machine are emulated."""
    from jax._src.clusters import cloud_tpu_cluster

    metadata = {
        "agent-worker-number": "1",
        "worker-network-endpoints": "a:b:127.0.0.1,a:b:127.0.0.2",
        "tpu-env": "ACCELERATOR_TYPE: 'v5litepod-8'\n",
    }
    monkeypatch.setattr(cloud_tpu_cluster, "running_in_cloud_tpu_vm", True)
    monkeypatch.setattr(cloud_tpu_cluster, "get_metadata", lambda key: (metadata[key], 200))
    monkeypatch.delenv("TPU_SKIP_MDS_QUERY", raising=False)
    assert started_as(1) == Member("127.0.0.1", 8482, 2, 1, None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"JAX_COORDINATOR_ADDRESS": ":1"},
        {"JAX_COORDINATOR_ADDRESS": "localhost"},
        {"JAX_COORDINATOR_ADDRESS": "localhost:port"},
        {"JAX_COORDINATOR_ADDRESS": "localhost:70000"},
        {"JAX_COORDINATOR_ADDRESS": "a..b:1"},
        {"JAX_NUM_PROCESSES": "x"},
        {"JAX_PROCESS_ID": "3"},
        {"JAX_PROCESS_ID": ""},
    ],
)
def test_wrong_variables_of_jax_are_refused(environment, wrong):
    environment(JAX | wrong)
    with pytest.raises(UserError, match="the processes can't connect with JAX_COORDINATOR_ADDRESS="):
        started_as(1)


@pytest.mark.parametrize(
    ("name", "value"),
    [("SLURM_NTASKS", "x"), ("SLURM_PROCID", "4"), ("SLURM_STEP_NODELIST", ""), ("SLURM_PROCID", "x")],
)
def test_wrong_variables_of_slurm_are_refused(environment, name, value):
    environment(SLURM | {name: value})
    with pytest.raises(UserError, match="set JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES, JAX_PROCESS_ID for"):
        started_as(1)
