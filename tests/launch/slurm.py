"""A SLURM of two nodes on this machine: munged, slurmctld and two slurmd. Each node has 8 imaginary GPUs.

The nodes are called 127.0.0.1 and 127.0.0.2, so that their names are also their addresses. SLURM believes
that each has 64 cores.
"""

import contextlib
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from tests.conftest import free_port

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
NODES = ("127.0.0.1", "127.0.0.2")
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")

CONFIG = """\
ClusterName=test
FirstJobId={first}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmdSpoolDir={folder}/%n
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
KillWait=300
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 GraceTime=300
PartitionName=high Nodes=ALL PriorityTier=2
"""


def path():
    """Return PATH with the folders of the daemons, which a user's PATH may lack."""
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


class Slurm:
    """The cluster. At its end, the ``with`` block kills the daemons and all their processes."""

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # a socket needs a short path
        self.folder.chmod(0o755)
        self._daemons = []
        self.environment = os.environ | {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": path()}
        try:
            self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _start(self):
        words = [shutil.which("slurmctld", path=path()), "-V"]
        printed = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        self.version = tuple(map(int, re.findall(r"\d+", printed)[:2]))
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        names = ("socket", "pid-file", "log-file", "seed-file")
        files = [f"--{name}={self.folder}/munge.{name.removesuffix('-file')}" for name in names]
        self._daemon("munged", "--foreground", "--force", f"--key-file={key}", *files)
        host = socket.gethostname().partition(".")[0]
        first = secrets.randbelow(10**6) + 1  # JAX chooses a port by the job's number
        user, port = pwd.getpwuid(os.getuid()).pw_name, free_port()
        lines = [CONFIG.format(host=host, port=port, user=user, folder=self.folder, first=first)]
        for node in NODES:
            (self.folder / node).mkdir()
            lines.append(
                f"NodeName={node} NodeHostname={host} NodeAddr={node} Port={free_port()} CPUs=64 Gres=gpu:8\n"
            )
        (self.folder / "slurm.conf").write_text("".join(lines))
        for number in range(8):
            (self.folder / f"gpu{number}").touch()  # SLURM warns that this is not a device, but counts it
        (self.folder / "gres.conf").write_text(f"Name=gpu File={self.folder}/gpu[0-7]\n")
        if self.version >= (24, 5):  # with this configuration older ones use no cgroups
            (self.folder / "cgroup.conf").write_text("CgroupPlugin=disabled\n")
        self._daemon("slurmctld", "-D")
        for node in NODES:
            self._daemon("slurmd", "-D", "-N", node)
        self.wait(self._is_up)

    def _is_up(self):
        words = ("sinfo", "--noheader", "--Node", "--partition=low", "--format=%T")
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, check=False)
        return done.stdout.split() == ["idle", "idle"]

    def _daemon(self, name, *words):
        with (self.folder / f"{name}{words[-1] if name == 'slurmd' else ''}.log").open("w") as log:
            program = shutil.which(name, path=path())
            daemon = subprocess.Popen([program, *words], env=self.environment, stdout=log, stderr=log)
        self._daemons.append(daemon)

    def wait(self, condition, seconds=600, report=None):
        """Wait until a condition is true. After too long a time, fail with the text of ``report``."""
        deadline = time.monotonic() + seconds
        while True:
            if condition():
                return
            assert time.monotonic() < deadline, (report or self._logs)()
            time.sleep(0.2)

    def _logs(self):
        return "\n".join(f"{log.name}:\n{log.read_text()}" for log in self.folder.glob("*.log"))

    def run(self, *words, **variables):
        """Run a command of SLURM, and return what it prints."""
        done = subprocess.run(
            list(map(str, words)),
            env=self.environment | variables,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def submit(self, *words, **variables):
        """Submit a job with ``sbatch``, and return its number."""
        return self.run("sbatch", "--parsable", *words, **variables)

    def state(self, job):
        """Return the fields that ``scontrol show job`` prints."""
        return dict(re.findall(r"(\w+)=(\S*)", self.run("scontrol", "show", "job", job)))

    def wait_for(self, job, *states):
        """Wait until a job is in one of some states, and return its fields."""
        self.wait(lambda: self.state(job)["JobState"] in states)
        return self.state(job)

    def ended(self, job):
        """Wait for the end of a job, and return its state and its exit status."""
        fields = self.wait_for(job, *ENDED)
        return fields["JobState"], int(fields["ExitCode"].partition(":")[0])

    def __exit__(self, kind, error, trace):
        for daemon in reversed(self._daemons):
            daemon.kill()
            daemon.wait()
        self._kill_jobs()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _kill_jobs(self):
        """Kill the processes that the daemons started. They have inherited the environment."""
        mine = f"\0SLURM_CONF={self.folder}/".encode()
        found = True
        while found:
            found = False
            for process in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):  # it has ended, or belongs to another user
                    if mine in b"\0" + (process / "environ").read_bytes():
                        os.kill(int(process.name), signal.SIGKILL)
                        found = True


def need_slurm():
    """Skip a test if this machine has no SLURM. In CI, fail instead."""
    if missing := [name for name in PROGRAMS if shutil.which(name, path=path()) is None]:
        message = f"{', '.join(missing)} missing (apt install slurm-wlm munge): tests of SLURM are skipped"
        if os.environ.get("ALEXNET_JAX_NO_SKIPS"):
            pytest.fail(message)
        pytest.skip(message)
