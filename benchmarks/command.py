"""The real command, ``alexnet-jax``, run by a benchmark that listens to what it prints."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def running(*words: str) -> Iterator[subprocess.Popen[str]]:
    """``alexnet-jax`` with these words; ends the benchmark if it fails, unless it was killed here."""
    command = [sys.executable, "-m", "alexnet_jax", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
    if process.returncode not in (0, -signal.SIGKILL):
        raise SystemExit(f"alexnet-jax {' '.join(words)} failed")
