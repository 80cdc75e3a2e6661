"""The measurements of `gpu`. Each runs in a separate process, and appends its rows to a file.

    python benchmarks/gpu_parts.py train --precisions=bfloat16,tf32 --batch_sizes=128,256 --rows=FILE

Precisions:

float32: products and convolutions have float32 operands.
tf32: the operands are rounded to TF32, with 10 bits of fraction. This is JAX's default on a GPU. A CPU
    computes in float32.
bfloat16: the operands and the activations are bfloat16.
"""

import argparse
import contextlib
import hashlib
import importlib.metadata
import json
import os
import re
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import end_to_end
import jax
import jax.numpy as jnp
import layers
import numpy as np
import step
import ten_views
from ml_collections import ConfigDict
from options import parser

from alexnet_jax import get_config
from alexnet_jax.runtime import huge_pages
from alexnet_jax.runtime.limits import cores
from alexnet_jax.training.flops import flops_per_image

Row: TypeAlias = dict[str, Any]
KERNELS = 10


def set_precision(precision: str) -> None:
    """Set the precision of products here, and in the commands that this process runs."""
    name = "highest" if precision == "float32" else "default"
    jax.config.update("jax_default_matmul_precision", name)
    os.environ["JAX_DEFAULT_MATMUL_PRECISION"] = name


def config_of(args: argparse.Namespace, batch_size: int) -> ConfigDict:
    config = get_config(args.config)
    config.batch_size, config.mesh, config.dtype = batch_size, (1, 1), dtype_of(args.precision)
    return config


def dtype_of(precision: str) -> str:
    return "bfloat16" if precision == "bfloat16" else "float32"


def device_memory() -> dict[str, int]:
    """Return what the device reports about its memory, in bytes. A CPU reports nothing."""
    return dict(jax.local_devices()[0].memory_stats() or {})


def machine(args: argparse.Namespace) -> Iterator[Row]:
    """Describe the device."""
    device = jax.local_devices()[0]
    yield {
        "kind": device.device_kind,
        "platform": device.platform,
        "platform_version": device.client.platform_version.splitlines()[0],
        "bytes_limit": device_memory().get("bytes_limit"),
        "cores": cores(),
        "jax": jax.__version__,
        "packages": installed("jax-cuda13-plugin", "nvidia-cudnn-cu13", "jax-triton", "triton"),
    }


def installed(*names: str) -> dict[str, str]:
    """Return the versions of those packages that are installed."""
    found = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def peak(args: argparse.Namespace) -> Iterator[Row]:
    """Measure the product of two large matrices of random numbers."""
    draws = np.random.default_rng(0)
    a, b = (
        jnp.asarray(draws.standard_normal((args.side, args.side), np.float32), dtype_of(args.precision))
        for _ in range(2)
    )
    multiply = jax.jit(jnp.matmul)
    seconds = []
    for _ in range(4):
        began = time.perf_counter()
        jax.block_until_ready([multiply(a, b) for _ in range(args.at_once)][-1])
        seconds.append((time.perf_counter() - began) / args.at_once)
    yield {
        "side": args.side,
        "seconds": min(seconds[1:]),
        "flops_per_second": 2 * args.side**3 / min(seconds[1:]),
    }


def train(args: argparse.Namespace) -> Iterator[Row]:
    """Measure the training step for each batch size, in ascending order."""
    for batch_size in args.batch_sizes:
        config = config_of(args, batch_size)
        row: Row = {"batch_size": batch_size}
        try:
            found = step.measure(config, args.steps, args.at_once)
        except jax.errors.JaxRuntimeError as error:  # the batch does not fit into the memory
            yield {**row, "error": str(error).splitlines()[0]}
            continue
        seconds, memory = float(np.median(found.seconds)), found.compiled.memory_analysis()
        assert memory is not None
        yield {
            **row,
            "seconds": seconds,
            "per_second": batch_size / seconds,
            "compile_seconds": found.compile_seconds,
            "loss": found.loss,
            # Of `net.ops.block_gpu`; 0 if jax-triton is missing or does not support the sizes.
            "triton_kernels": (found.compiled.as_text() or "").count('target="triton_kernel_call_ffi"'),
            "flops_per_second": flops_per_image(config) * config.batch_size / seconds,
            # The state is donated: the outputs of the step are in the memory of its arguments.
            "program_bytes": memory.argument_size_in_bytes + memory.temp_size_in_bytes,
            # Peak of the process until now. It includes the memory in which cuDNN timed its algorithms.
            "peak_bytes": device_memory().get("peak_bytes_in_use"),
        }
        del found


def evaluate(args: argparse.Namespace) -> Iterator[Row]:
    """Measure ten views."""
    for batch_size in args.batch_sizes:
        seconds = float(
            np.median(ten_views.measure(config_of(args, batch_size), args.steps, args.at_once)[0])
        )
        yield {"batch_size": batch_size, "seconds": seconds, "per_second": 10 * batch_size / seconds}


def from_cache(args: argparse.Namespace) -> Iterator[Row]:
    """Measure training from caches of raw and JPEG images with the real command, and the step alone."""
    (batch_size,) = args.batch_sizes
    overrides = {"batch_size": batch_size, "dtype": dtype_of(args.precision)}
    steps = args.steps * args.at_once
    for encoding in ("raw", "jpeg"):
        found = end_to_end.measure(
            args.config, {**overrides, "data.encoding": encoding}, steps, 1, args.images, None, warm=0
        )
        (seconds,), (alone,) = found.from_cache, found.alone
        yield {
            "encoding": encoding,
            "batch_size": batch_size,
            "seconds": seconds,
            "seconds_alone": alone,
            "per_second": batch_size / seconds,
        }


def kernels(args: argparse.Namespace) -> Iterator[Row]:
    """Find the kernels in which a step spends the most time. On a CPU they are instructions of XLA."""
    (batch_size,) = args.batch_sizes
    config = config_of(args, batch_size)
    found, names = step.measure(config, steps=1), {layer.name for layer in config.net.layers}
    state, *rest = found.arguments
    with tempfile.TemporaryDirectory(prefix="alexnet-jax-") as directory:
        with jax.profiler.trace(directory):
            for _ in range(args.steps):
                state, _ = found.compiled(state, *rest)
            jax.block_until_ready(state)
        (trace,) = Path(directory).rglob("*.xplane.pb")
        profile = jax.profiler.ProfileData.from_file(str(trace))
    scopes = layers.scopes(found.compiled.as_text() or "")
    on_gpu = jax.default_backend() == "gpu"
    events = list(executed(profile, set(scopes), on_gpu))
    if not events:
        raise SystemExit("the profile has no kernels: on a GPU, CUPTI may lack the permission to see them")
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    for name, instruction, _, seconds in events:
        times[name, work_of(scopes.get(instruction, instruction), names)].append(seconds)
    together = sum(map(sum, times.values()))
    span = max(begin + seconds for *_, begin, seconds in events) - min(begin for *_, begin, _ in events)
    for (name, work), each in sorted(times.items(), key=lambda item: -sum(item[1]))[:KERNELS]:
        yield {
            "batch_size": batch_size,
            "kernel": name,
            "work": work,
            "calls": len(each) / args.steps,
            "seconds": sum(each) / args.steps,
            "share": sum(each) / together,
            "seconds_of_all": together / args.steps,
            "seconds_of_step": span / args.steps,
        }


def executed(
    profile: jax.profiler.ProfileData, instructions: set[str], on_gpu: bool
) -> Iterator[tuple[str, str, float, float]]:
    """Yield each execution of a kernel: its name, its instruction, its start and its duration in seconds."""
    for plane in profile.planes:
        if on_gpu and not plane.name.startswith("/device:GPU"):
            continue
        for line in plane.lines:
            if on_gpu and not line.name.startswith("Stream"):
                continue  # other lines repeat the kernels, by module or by instruction
            for event in line.events:
                instruction = str(dict(event.stats).get("hlo_op", "")) if on_gpu else event.name
                if on_gpu or instruction in instructions:
                    yield event.name, instruction, event.start_ns / 1e9, event.duration_ns / 1e9


def work_of(scope: str, names: Collection[str]) -> str:
    """Describe a name scope, as in `layers.layer_of`: the layer, the direction, and the operation."""
    layer, way = layers.layer_of(scope, names)
    operation = (re.findall(r"\w+", scope) or [""])[-1]
    return operation if layer == layers.REST else f"{layer} {way}: {operation}"


def digest(args: argparse.Namespace) -> Iterator[Row]:
    """Train for a few steps, and compute a checksum of the parameters."""
    (batch_size,) = args.batch_sizes
    found = step.measure(config_of(args, batch_size), args.steps, args.at_once)
    checksum = hashlib.sha256()
    for array in jax.tree.leaves(jax.device_get(found.state.params)):
        checksum.update(array.tobytes())
    seconds = float(np.median(found.seconds))
    yield {"batch_size": batch_size, "seconds": seconds, "digest": checksum.hexdigest()}


PARTS: dict[str, Callable[[argparse.Namespace], Iterator[Row]]] = {
    part.__name__: part for part in (machine, peak, train, evaluate, from_cache, kernels, digest)
}


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def main() -> None:
    options = parser(__doc__, "alexnet.py")
    options.add_argument("part", choices=PARTS)
    options.add_argument("--precisions", default="bfloat16", help="of float32, tf32 and bfloat16")
    options.add_argument("--batch_sizes", type=numbers, default=[128])
    options.add_argument("--steps", type=int, default=3, help="number of measurements")
    options.add_argument("--at_once", type=int, default=10, help="number of steps in a measurement")
    options.add_argument("--side", type=int, default=8192, help="of the matrices that measure the peak")
    options.add_argument("--images", type=int, default=20_000, help="number of images in the cache")
    options.add_argument("--rows", type=Path, required=True, help="append a JSON object for each row here")
    args = options.parse_args()
    for precision in args.precisions.split(","):
        set_precision(precision)
        args.precision = precision
        for row in PARTS[args.part](args):
            with args.rows.open("a") as file:
                file.write(json.dumps({"precision": precision, **row}) + "\n")


if __name__ == "__main__":
    huge_pages.ask()  # as alexnet-jax does
    main()
