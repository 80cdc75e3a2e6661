"""How a command may end that can't do its work: with a documented status, and one line that says why."""

import subprocess

from alexnet_jax.cli.main import main
from alexnet_jax.errors import RunError, UserError
from tests.conftest import ROOT


def outcome_here(command, capfd, what):
    """Run a command in this process, check how it ended, and return its status."""
    capfd.readouterr()
    status = main(command)
    return checked(status, *capfd.readouterr(), what)


def outcome(command, what):
    """Run a command in a new process, check how it ended, and return its status."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return checked(done.returncode, done.stdout, done.stderr, what)


def checked(status, out, err, what, others=()):
    """Check how a command ended, and return its status. It may have other statuses, too."""
    printed = f"{what}: status {status}\n{out}\n{err}"
    assert status in (0, UserError.status, RunError.status, *others), printed
    assert "Traceback" not in out + err, printed
    lines = [line for line in err.splitlines() if line.startswith("alexnet-jax: ")]
    errors = [line for line in lines if not line.startswith("alexnet-jax: note: ")]
    assert len(errors) == (status != 0), printed
    assert all(len(line) < 1000 for line in errors), printed
    return status
