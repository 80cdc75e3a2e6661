"""Run the ``alexnet-jax`` command from a benchmark that reads its output."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def running(*words: str) -> Iterator[subprocess.Popen[str]]:
    """Run ``alexnet-jax`` with these arguments. End the benchmark if it fails, unless it was killed."""
    command = [sys.executable, "-m", "alexnet_jax", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
    if process.returncode not in (0, -signal.SIGKILL):
        raise SystemExit(f"alexnet-jax {' '.join(words)} failed with status {process.returncode}")
