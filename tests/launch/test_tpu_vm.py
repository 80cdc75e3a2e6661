"""launch/tpu-vm.sh prints the commands that it would run, and refuses what it can't run in one line."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

SCRIPT = ROOT / "launch" / "tpu-vm.sh"
VERBS = ("create", "start", "follow", "stop", "resume", "delete")


def tpu_vm(*arguments, **variables):
    """Run the script. Only calls that print or are refused may leave PATH as it is."""
    environment = {"PATH": "/usr/bin:/bin", "BUCKET": "my-bucket"} | variables
    return subprocess.run([SCRIPT, *arguments], env=environment, capture_output=True, text=True, check=False)


def printed(*arguments, **variables):
    """Return the commands that the script prints, each as a list of words."""
    done = tpu_vm("--print", *arguments, **variables)
    assert (done.returncode, done.stderr) == (0, "")
    return [shlex.split(line) for line in done.stdout.splitlines()]


def on_hosts(command):
    """Return the hosts and the remote command of ``gcloud ... ssh``."""
    assert command[:5] == ["gcloud", "compute", "tpus", "tpu-vm", "ssh"]
    options = dict(word.removeprefix("--").split("=", 1) for word in command if word.startswith("--"))
    return options["worker"], options["command"]


def test_shellcheck_finds_nothing():
    shellcheck = Path(sys.executable).parent / "shellcheck"
    done = subprocess.run([shellcheck, SCRIPT], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("verb", VERBS)
def test_says_which_value_is_not_filled_in(verb):
    done = tpu_vm(verb, BUCKET="")
    assert done.returncode == 2
    assert done.stderr == (
        "launch/tpu-vm.sh: fill in BUCKET at the top of this file, or set it: BUCKET=NAME launch/tpu-vm.sh"
        f" {verb}\n"
    )


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        ((), {}),
        (("--print",), {}),
        (("strat",), {}),
        (("stop", "now"), {}),
        (("create",), {"BUCKET": "gs://my-bucket"}),
        (("create",), {"BUCKET": "my bucket"}),
        (("create",), {"NAME": "a;reboot"}),
    ],
)
def test_refuses_wrong_words_and_values_in_one_line(arguments, variables):
    done = tpu_vm(*arguments, **variables)
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(r"launch/tpu-vm\.sh: .+\n", done.stderr)


def test_says_that_gcloud_is_missing(tmp_path):
    (tmp_path / "bash").symlink_to(shutil.which("bash"))
    done = tpu_vm("delete", PATH=str(tmp_path))
    assert done.returncode == 2
    assert "no command gcloud" in done.stderr


def test_create_requests_a_spot_slice_from_a_queue():
    _, copy, request = printed("create")
    assert copy[:3] == ["gcloud", "storage", "cp"]
    assert copy[-1] == "gs://my-bucket/code/alexnet.tar.gz"
    assert request[:5] == ["gcloud", "compute", "tpus", "queued-resources", "create"]
    assert {"--spot", "--node-id=alexnet", "--accelerator-type=v5litepod-256"} <= {*request}


def test_another_slice_and_zone_are_variables():
    request = printed("create", NAME="small", ACCELERATOR="v5litepod-16", ZONE="europe-west4-b")[-1]
    assert {"small", "--accelerator-type=v5litepod-16", "--zone=europe-west4-b"} <= {*request}


def test_start_installs_and_trains_on_all_hosts():
    wait, install, train = printed("start", "--config.mesh=(-1, 2)")
    assert wait[:5] == ["gcloud", "compute", "tpus", "queued-resources", "describe"]
    hosts, command = on_hosts(install)
    assert hosts == "all"
    assert '".[gcs,tpu]"' in command
    hosts, command = on_hosts(train)
    assert hosts == "all"
    words = shlex.split(command)
    flags = words[words.index("train") :]
    assert "--workdir=gs://my-bucket/runs/alexnet" in flags
    assert flags[-1] == "--config.mesh=(-1, 2)"  # arrives as one word


def test_a_refused_or_a_saved_run_is_not_started_again():
    words = shlex.split(on_hosts(printed("start")[-1])[1])
    assert "--property=Restart=on-failure" in words
    assert "--property=RestartPreventExitStatus=2 143" in words


def test_follow_reads_one_log_and_stop_reaches_all_hosts():
    assert on_hosts(printed("follow")[0])[0] == "0"
    assert on_hosts(printed("stop")[0])[0] == "all"


def test_resume_deletes_the_slice_and_starts_another():
    assert printed("resume") == printed("delete") + printed("create") + printed("start")


def test_the_words_for_the_hosts_are_a_shell_program():
    for _, command in map(on_hosts, printed("start")[1:] + printed("follow") + printed("stop")):
        subprocess.run(["bash", "-n", "-c", command], check=True)


def test_the_commands_run_in_turn_and_a_lost_slice_is_reported(tmp_path):
    gcloud = tmp_path / "gcloud"
    gcloud.write_text('#!/bin/sh\necho "$3 $4" >>"$CALLS"\necho "$STATE"\n')
    gcloud.chmod(0o755)
    calls = tmp_path / "calls"
    variables = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CALLS": str(calls)}
    assert tpu_vm("start", **variables, STATE="ACTIVE").returncode == 0
    assert calls.read_text().splitlines()[-2:] == ["tpu-vm ssh"] * 2
    calls.unlink()
    lost = tpu_vm("start", **variables, STATE="SUSPENDED")
    assert lost.returncode == 1
    assert "the slice alexnet is SUSPENDED" in lost.stderr
    assert "ssh" not in calls.read_text()
