"""Describe the machine and the versions that a benchmark measures, and find the Python of a peer."""

import argparse
import importlib.metadata
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from alexnet_jax.runtime.limits import cores

SETS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "sve", "bf16")
"""Instruction sets that matter for the speed of products, as Linux names them."""


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the processor's name, its instruction sets, and how many cores this process may use."""
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = fields.get("model name") or platform.processor() or platform.machine()
    found = set((fields.get("flags") or fields.get("Features", "")).split())
    sets = " ".join(name for name in SETS if name in found)
    return f"{name} ({sets or 'instruction sets unknown'}), {cores()} cores"


def versions(ours: Sequence[str], python: str, theirs: Sequence[str]) -> str:
    """Return the versions of our packages, and of the modules of a peer in its own Python.

    Raises:
      SystemExit: the Python of the peer can't import one of the modules.
    """
    code = "import importlib as i, sys; print(*(i.import_module(x).__version__ for x in sys.argv[1:]))"
    done = subprocess.run([python, "-c", code, *theirs], capture_output=True, text=True, check=False)
    if done.returncode:
        *_, problem = done.stderr.splitlines() or [f"status {done.returncode}"]
        raise SystemExit(f"{python}: {problem}: install it, or name another Python with --peer_python")
    found = [(name, importlib.metadata.version(name)) for name in ours]
    found += zip(theirs, done.stdout.split(), strict=True)
    return ", ".join(f"{name} {version}" for name, version in found)


def add_peer_python(parser: argparse.ArgumentParser, packages: str) -> None:
    """Add ``--peer_python`` to a parser."""
    parser.add_argument(
        "--peer_python", type=_program, default=sys.executable, help=f"a Python that has {packages}"
    )


def _program(path: str) -> str:
    if shutil.which(path) is None:
        raise argparse.ArgumentTypeError(f"{path} is no program")
    return path
