"""launch/jobset-*.yaml are valid JobSets, with an action for each status in docs/errors.md."""

import math
import re

import pydantic
import pytest
import yaml
from kubeflow_trainer_api.models.jobset_v1alpha2_job_set import JobsetV1alpha2JobSet

from alexnet_jax.config import get_config
from alexnet_jax.config.settings import BY_KEY
from tests.conftest import CONFIGS, ROOT

BOTH = pytest.mark.parametrize("name", ["tpu", "gpu"])
CHECKPOINT_BYTES = 2 * 4 * 60_965_224  # the paper's network: parameters and momentum in float32
V5E_HOSTS = {"4x4": 4, "4x8": 8, "8x8": 16, "8x16": 32, "16x16": 64}  # of 4 chips


def as_it_stands(name):
    return (ROOT / "launch" / f"jobset-{name}.yaml").read_text()


def filled_in(name):
    """Return the JobSet after the two lines were filled in."""
    text = as_it_stands(name)
    for placeholder, value in (("[IMAGE]", "registry/alexnet-jax:1"), ("[BUCKET]", "my-bucket")):
        assert text.count(placeholder) == 1
        text = text.replace(placeholder, value)
    return yaml.safe_load(text)


def job(jobset):
    (replicated,) = jobset["spec"]["replicatedJobs"]
    return replicated["template"]["spec"]


def pod(jobset):
    return job(jobset)["template"]["spec"]


def container(jobset):
    (only,) = pod(jobset)["containers"]
    return only


def variables(jobset):
    return {variable["name"]: variable.get("value") for variable in container(jobset)["env"]}


def ports(jobset):
    return [port["containerPort"] for port in container(jobset)["ports"]]


@BOTH
def test_is_valid_and_has_no_unknown_field(name):
    jobset = filled_in(name)
    assert JobsetV1alpha2JobSet.from_dict(jobset).to_dict() == jobset  # unknown fields would be missing


@BOTH
@pytest.mark.parametrize("placeholder", ["[IMAGE]", "[BUCKET]"])
def test_is_refused_until_both_lines_are_filled_in(name, placeholder):
    other = {"[IMAGE]": "[BUCKET]", "[BUCKET]": "[IMAGE]"}[placeholder]
    jobset = yaml.safe_load(as_it_stands(name).replace(other, "filled"))
    with pytest.raises(pydantic.ValidationError, match="valid string"):
        JobsetV1alpha2JobSet.from_dict(jobset)


@BOTH
def test_both_lines_reach_the_container(name):
    jobset = filled_in(name)
    assert container(jobset)["image"] == "registry/alexnet-jax:1"
    assert variables(jobset)["BUCKET"] == "my-bucket"


def test_a_tpu_slice_has_a_pod_for_each_host():
    jobset = filled_in("tpu")
    chips = container(jobset)["resources"]["limits"]["google.com/tpu"]
    topology = pod(jobset)["nodeSelector"]["cloud.google.com/gke-tpu-topology"]
    assert job(jobset)["parallelism"] == job(jobset)["completions"] == V5E_HOSTS[topology]
    assert job(jobset)["completions"] * chips == math.prod(map(int, topology.split("x"))) == 256


def test_the_comment_names_the_hosts_of_each_slice():
    named = re.findall(r"v5e-(\d+): (\d+), (\d+x\d+)", as_it_stands("tpu"))
    assert {topology: int(hosts) for _, hosts, topology in named} == V5E_HOSTS
    assert all(int(chips) == 4 * int(hosts) for chips, hosts, _ in named)


def test_gpus_are_4_nodes_of_8():
    jobset = filled_in("gpu")
    assert container(jobset)["resources"]["limits"] == {"nvidia.com/gpu": 8}
    assert job(jobset)["parallelism"] == job(jobset)["completions"] == 4
    assert variables(jobset)["JAX_NUM_PROCESSES"] == "4"


def test_processes_on_gpus_meet_at_the_first_pod_of_the_jobset():
    jobset = filled_in("gpu")
    name, network = jobset["metadata"]["name"], jobset["spec"]["network"]
    replicated = jobset["spec"]["replicatedJobs"][0]["name"]
    host, port = variables(jobset)["JAX_COORDINATOR_ADDRESS"].split(":")
    assert host == f"{name}-{replicated}-0-0.{network.get('subdomain', name)}"
    assert network["enableDNSHostnames"]
    assert network["publishNotReadyAddresses"]
    assert int(port) in ports(jobset)
    (number,) = [v for v in container(jobset)["env"] if v["name"] == "JAX_PROCESS_ID"]
    index = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    assert number["valueFrom"]["fieldRef"] == {"fieldPath": index}
    assert job(jobset)["completionMode"] == "Indexed"


def test_processes_on_tpus_meet_at_the_port_of_jax():
    from jax._src.clusters import cloud_tpu_cluster

    jobset = filled_in("tpu")
    assert int(cloud_tpu_cluster.coordinator_port) in ports(jobset)
    assert not {name for name in variables(jobset) if name.startswith("JAX_") and name != "JAX_PLATFORMS"}


def action(jobset, status, *, disrupted=False):
    """Return what Kubernetes and JobSet do when a pod ends with a status, as their controllers do."""
    assert job(jobset)["backoffLimit"] == 0
    assert pod(jobset)["restartPolicy"] == "Never"
    reason, message = "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    for index, rule in enumerate(job(jobset)["podFailurePolicy"]["rules"]):
        assert rule["action"] == "FailJob"
        matching = f"matching FailJob rule at index {index}"
        if codes := rule.get("onExitCodes"):
            assert codes["operator"] == "In"
            if codes["containerName"] == container(jobset)["name"] and status in codes["values"]:
                message = f"Container train for pod default/p failed with exit code {status} {matching}"
                reason = "PodFailurePolicy"
                break
        elif disrupted:
            assert rule["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
            message = f"Pod default/p has condition DisruptionTarget {matching}"
            reason = "PodFailurePolicy"
            break
    policy = jobset["spec"]["failurePolicy"]
    assert policy["maxRestarts"] > 0
    for rule in policy["rules"]:
        patterns = rule["onJobFailureMessagePatterns"]
        if reason in rule["onJobFailureReasons"] and any(re.search(p, message) for p in patterns):
            return rule["action"]
    return "RestartJobSet"


ACTIONS = (
    dict.fromkeys([2], "FailJobSet")
    | dict.fromkeys([129, 130, 138, 143], "RestartJobSetAndIgnoreMaxRestarts")
    | dict.fromkeys([1, 75, 134, 137], "RestartJobSet")
)


def test_every_status_of_the_documentation_has_an_action():
    page = (ROOT / "docs" / "errors.md").read_text()
    rows = re.findall(r"^\| ([\d, ]+) \|", page, re.MULTILINE)
    statuses = {int(status) for row in rows for status in row.split(",")}
    assert statuses - {141} == {0, *ACTIONS}  # 141: the reader of a pipe has ended, and there is none


@BOTH
@pytest.mark.parametrize("status", ACTIONS)
def test_a_status_decides_whether_to_restart(name, status):
    assert action(filled_in(name), status) == ACTIONS[status]


@BOTH
@pytest.mark.parametrize("status", [1, 75, 137, 143])
def test_a_preemption_restarts_without_counting(name, status):
    assert action(filled_in(name), status, disrupted=True) == "RestartJobSetAndIgnoreMaxRestarts"


@BOTH
def test_a_refused_run_ends_even_on_a_preempted_node(name):
    assert action(filled_in(name), 2, disrupted=True) == "FailJobSet"


@BOTH
def test_the_grace_period_suffices_for_a_checkpoint(name):
    assert pod(filled_in(name))["terminationGracePeriodSeconds"] > CHECKPOINT_BYTES / 10e6  # at 10 MB/s


@BOTH
def test_memory_is_shared(name):
    jobset = filled_in(name)
    (mount,) = [m for m in container(jobset)["volumeMounts"] if m["mountPath"] == "/dev/shm"]
    (volume,) = [v for v in pod(jobset)["volumes"] if v["name"] == mount["name"]]
    assert volume["emptyDir"]["medium"] == "Memory"


@BOTH
def test_the_command_has_settings_that_exist(name):
    jobset = filled_in(name)
    assert "command" not in container(jobset)  # it would replace the image's ENTRYPOINT
    verb, *flags = container(jobset)["args"]
    values = dict(flag.removeprefix("--").split("=", 1) for flag in flags)
    assert verb == "train"
    recipe, _, variants = values.pop("config").partition(":")
    get_config(f"{CONFIGS / recipe}.py:{variants}")
    assert values.pop("workdir").startswith("gs://$(BUCKET)/")
    assert {key.removeprefix("config.") for key in values} <= {*BY_KEY}
    mounts = {mount["mountPath"] for mount in container(jobset)["volumeMounts"]}
    assert values["config.data.cache_dir"] in mounts
