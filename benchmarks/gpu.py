"""Measure a machine with one GPU in less than nine minutes: speed, memory, kernels, determinism.

    python benchmarks/gpu.py [--out=runs/gpu] [--only=train,kernels] [--small]

It measures the training step in float32, TF32 and bfloat16, and ten views in bfloat16, beside PyTorch on the
same network, as it comes and tuned (not in float32). It measures training from caches of raw and JPEG images.
It finds the longest kernels, and tests whether two runs with ``--xla_gpu_deterministic_ops=true`` give the
same bits. No network and no data are needed.

Each part runs in a separate process with a time limit. A part that fails is listed with the reason, its
messages are in ``errors-PART.txt``, and the status is 1. ``gpu.json``, ``gpu.md`` and ``gpu.txt`` are written
after each part. On a CPU, and with ``--small``, sizes are small and the figures mean nothing.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from gpu_tables import Failure, Row, tables
from machine import add_peer_python, versions
from options import parser

from alexnet_jax.text import aligned, markdown

HERE = Path(__file__).parent
TUNED = "channels_last+cudnn_benchmark+compile+plain"
DETERMINISTIC = "--xla_gpu_deterministic_ops=true"


class Sizes(NamedTuple):
    """What is measured.

    Attributes:
      batch_sizes: batch sizes of the training step, in ascending order.
      large: batch size of the parts that have only one.
      side: side of the matrices that measure the peak.
      images: number of images in the caches.
      steps: number of measurements.
      at_once: number of steps in a measurement.
    """

    batch_sizes: tuple[int, ...]
    large: int
    side: int
    images: int
    steps: int
    at_once: int


FULL = Sizes((128, 512, 1024, 2048), 1024, 8192, 20_000, 3, 10)
SMALL = Sizes((2, 4), 4, 256, 50, 1, 2)


class Part(NamedTuple):
    """A measurement: its name, its time limit in seconds, its command, and additions to its environment."""

    name: str
    limit: int
    command: tuple[str, ...]
    environment: Mapping[str, str] = MappingProxyType({})


def parts(config: str, sizes: Sizes, peer: str, device: str) -> list[Part]:
    """Return the parts, the most important ones first.

    Args:
      config: recipe.
      sizes: what is measured.
      peer: a Python that has PyTorch.
      device: PyTorch's name for the device: cpu or cuda.
    """
    everything, large = sizes.batch_sizes, (sizes.large,)
    two = (everything[0], sizes.large)

    def ours(
        name: str, limit: int, what: str, precisions: str, batch_sizes: tuple[int, ...], **environment: str
    ) -> Part:
        options = {
            "config": config,
            "precisions": precisions,
            "batch_sizes": ",".join(map(str, batch_sizes)),
            "side": sizes.side,
            "images": sizes.images,
            "steps": sizes.steps,
            "at_once": sizes.at_once,
        }
        return Part(name, limit, command(sys.executable, "gpu_parts.py", what, **options), environment)

    def pytorch(
        name: str, limit: int, what: str, mode: str, precisions: str, batch_sizes: tuple[int, ...]
    ) -> Part:
        options = {
            "device": device,
            "what": what,
            "mode": mode,
            "dtype": precisions,
            "batch_size": ",".join(map(str, batch_sizes)),
            "steps": sizes.steps,
            "at_once": sizes.at_once,
        }
        return Part(name, limit, command(peer, "peers/pytorch.py", **options))

    deterministic = {"XLA_FLAGS": DETERMINISTIC, "JAX_ENABLE_COMPILATION_CACHE": "false"}
    # The benchmark and the command that it runs share the device's memory.
    shared = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    return [
        ours("machine", 40, "machine", "float32", large),
        # On an H200 a step compiles in 15 s for each batch size, PyTorch's in 40 s.
        ours("peak", 40, "peak", "bfloat16,tf32,float32", large),
        ours("train bfloat16", 130, "train", "bfloat16", everything),
        ours("train tf32", 70, "train", "tf32", two),
        pytorch("PyTorch as it comes", 60, "train", "eager", "bfloat16,tf32,float32", two),
        pytorch("PyTorch tuned", 110, "train", TUNED, "bfloat16", two),
        ours("kernels", 50, "kernels", "bfloat16", large),
        ours("determinism 1", 40, "digest", "bfloat16", everything[:1], **deterministic),
        ours("determinism 2", 40, "digest", "bfloat16", everything[:1], **deterministic),
        ours("train float32", 70, "train", "float32", two),
        ours("from caches", 100, "from_cache", "bfloat16", large, **shared),
        ours("ten views", 50, "evaluate", "bfloat16", large),
        pytorch("PyTorch ten views", 60, "evaluate", TUNED, "bfloat16", large),
        pytorch("PyTorch tuned TF32", 110, "train", TUNED, "tf32", two),
    ]


def command(python: str, program: str, *words: str, **options: Any) -> tuple[str, ...]:
    flags = (f"--{name}={value}" for name, value in options.items())
    return (python, str(HERE / program), *words, *flags)


def run(part: Part, seconds: float, directory: Path, out: Path) -> tuple[list[Row], Failure | None]:
    """Run a part for at most this many seconds. Return its rows, and its failure or None.

    Args:
      part: the measurement.
      seconds: its time limit.
      directory: folder of temporary files that the parts share.
      out: folder of the results. The messages of a part that fails stay there.
    """
    began = time.monotonic()
    rows, errors = directory / "rows", out / f"errors-{part.name.replace(' ', '-')}.txt"
    rows.write_text("")
    environment = {
        **os.environ,
        # All parts share a new cache: each program is compiled once, even if the cache of the user has it.
        "JAX_COMPILATION_CACHE_DIR": str(directory / "programs"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_TRACEBACK_FILTERING": "off",  # otherwise JAX explains the filter in the last lines
        **part.environment,
    }
    if flags := part.environment.get("XLA_FLAGS"):
        environment["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
    reason = None
    with errors.open("w+") as stderr:
        process = subprocess.Popen(
            [*part.command, f"--rows={rows}"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
        )
        try:
            if status := process.wait(timeout=seconds):
                reason = f"status {status}: {last_line(errors)}"
        except subprocess.TimeoutExpired:
            reason = f"not finished after {seconds:.0f} s"
        finally:
            with contextlib.suppress(ProcessLookupError):  # it and its children have ended
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if reason is None:
        errors.unlink()
    found = [{"part": part.name, **json.loads(line)} for line in rows.read_text().splitlines()]
    elapsed = time.monotonic() - began
    return found, None if reason is None else Failure(part.name, reason, elapsed)


def last_line(file: Path) -> str:
    """Return the line with the last exception, or the last line."""
    lines = [line.strip() for line in file.read_text(errors="replace").splitlines() if line.strip()]
    exceptions = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Interrupt): .", line)]
    return (exceptions or lines or ["no message"])[-1][:200]


def write(directory: Path, rows: list[Row], failures: list[Failure]) -> str:
    """Write the results as JSON, Markdown and text; return the text."""
    made = tables(rows, failures)
    text = "\n\n".join(f"{title}\n{aligned(table)}" for title, table in made)
    (directory / "gpu.md").write_text(
        "\n\n".join(f"### {title}\n\n{markdown(table)}" for title, table in made) + "\n"
    )
    (directory / "gpu.txt").write_text(text + "\n")
    results = {"rows": rows, "failures": [failure._asdict() for failure in failures]}
    (directory / "gpu.json").write_text(json.dumps(results, indent=1) + "\n")
    return text


def main() -> None:
    options = parser(__doc__, "alexnet.py")
    options.add_argument("--out", type=Path, default=Path("runs/gpu"), help="folder of the results")
    options.add_argument(
        "--only", help="run only parts whose names begin like one of these words, with commas"
    )
    options.add_argument("--minutes", type=float, default=8.8, help="time limit of all parts together")
    options.add_argument("--small", action="store_true")
    add_peer_python(options, "PyTorch")
    args = options.parse_args()
    beginnings = tuple(args.only.split(",")) if args.only else ("",)
    machine, *others = parts(args.config, SMALL, "", "")
    chosen = [part.name for part in others if part.name.startswith(beginnings)]
    if not chosen:
        options.error(f"--only={args.only}: the parts are {', '.join(part.name for part in others)}")
    if any(name.startswith("PyTorch") for name in chosen):
        versions((), args.peer_python, ("torch",))
    signal.signal(signal.SIGTERM, lambda signum, _: sys.exit(128 + signum))  # `run` ends its part, too
    args.out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * args.minutes
    failures: list[Failure] = []
    with tempfile.TemporaryDirectory(prefix="alexnet-jax-") as name:
        directory = Path(name)
        rows, failure = run(machine, machine.limit, directory, args.out)
        if failure is not None:
            raise SystemExit(f"JAX found no device: {failure.reason}")
        on_cpu = rows[0]["platform"] == "cpu"
        sizes = SMALL if args.small or on_cpu else FULL
        for part in parts(args.config, sizes, args.peer_python, "cpu" if on_cpu else "cuda"):
            if part.name not in chosen:
                continue
            began = time.monotonic()
            found: list[Row] = []
            failure = Failure(part.name, "no time was left", 0.0)
            if end - began > 5:
                limit = part.limit * (10 if on_cpu else 1)  # a CPU is slower
                found, failure = run(part, min(limit, end - began), directory, args.out)
            rows += found
            failures += [failure] if failure else []
            text = write(args.out, rows, failures)
            outcome = failure.reason if failure else "done"
            print(f"{part.name}: {outcome}, {time.monotonic() - began:.0f} s", flush=True)
    print(f"\n{text}\n\nresults: {args.out}/gpu.json, gpu.md and gpu.txt")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
