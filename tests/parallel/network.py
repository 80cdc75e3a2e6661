"""A network of hosts on this machine: network namespaces, which are connected by a switch. Needs root."""

import contextlib
import os
import secrets
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT


def run(*words):
    subprocess.run(words, check=True, capture_output=True, text=True)


class Network:
    """Hosts with the names ``h0``, ``h1``, ... and the addresses ``10.77.0.1``, ``10.77.0.2``, ...

    Each knows the names of all, until `resolve` changes that.
    """

    def __init__(self, count):
        self.id = secrets.token_hex(3)
        self.count = count
        self.processes = []

    def __enter__(self):
        self._switch = f"ajs-{self.id}"
        self._hosts = [f"aj{i}-{self.id}" for i in range(self.count)]
        for name in (self._switch, *self._hosts):
            run("ip", "netns", "add", name)
        run("ip", "-n", self._switch, "link", "add", "switch", "type", "bridge")
        run("ip", "-n", self._switch, "link", "set", "switch", "up")
        for number, name in enumerate(self._hosts):
            run(
                "ip", "-n", self._switch, "link", "add", f"port{number}", "type", "veth",
                "peer", "name", "eth0", "netns", name,
            )  # fmt: skip
            run("ip", "-n", self._switch, "link", "set", f"port{number}", "master", "switch", "up")
            run("ip", "-n", name, "address", "add", f"10.77.0.{number + 1}/24", "dev", "eth0")
            for device in ("eth0", "lo"):
                run("ip", "-n", name, "link", "set", device, "up")
            self.resolve(number, {f"h{i}": f"10.77.0.{i + 1}" for i in range(self.count)})
        return self

    def resolve(self, number, names):
        """Set the names that a host knows."""
        etc = Path("/etc/netns") / self._hosts[number]
        etc.mkdir(parents=True, exist_ok=True)
        lines = ["127.0.0.1 localhost", *(f"{address} {name}" for name, address in names.items())]
        (etc / "hosts").write_text("\n".join(lines) + "\n")
        (etc / "resolv.conf").write_text("")

    def start(self, number, *command, **variables):
        """Start a command on a host, with the variables of a process of a run."""
        environment = {
            "JAX_COORDINATOR_ADDRESS": "h0:4321",
            "JAX_NUM_PROCESSES": str(self.count),
            "JAX_PROCESS_ID": str(number),
            "JAX_NUM_CPU_DEVICES": "1",
            "ALEXNET_JAX_START_TIMEOUT": "30",
        }
        process = subprocess.Popen(
            ["ip", "netns", "exec", self._hosts[number], "unshare", "--uts", "sh", "-c",
             f'hostname h{number}; exec "$@"', "sh", *map(str, command)],
            cwd=ROOT, env=os.environ | environment | variables, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.processes.append(process)
        return process

    def cut(self, number):
        """Pull the cable of a host."""
        run("ip", "-n", self._switch, "link", "set", f"port{number}", "down")

    def __exit__(self, kind, error, trace):
        for process in self.processes:
            process.kill()
            process.communicate()
        for name in (self._switch, *self._hosts):
            with contextlib.suppress(subprocess.CalledProcessError):
                run("ip", "netns", "delete", name)
            shutil.rmtree(Path("/etc/netns") / name, ignore_errors=True)


@pytest.fixture
def needs_network():
    """Skip a test if this machine can't emulate hosts."""
    if missing := [name for name in ("ip", "unshare", "faketime") if shutil.which(name) is None]:
        message = f"{', '.join(missing)} missing (apt install iproute2 faketime): tests of hosts are skipped"
        if os.environ.get("ALEXNET_JAX_NO_SKIPS"):
            pytest.fail(message)
        pytest.skip(message)
    try:
        with Network(1):
            pass
    except subprocess.CalledProcessError as error:  # in a container, or without root
        pytest.skip(f"this system allows no network namespaces ({error.stderr.strip()})")
