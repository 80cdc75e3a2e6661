"""One training step on a batch that stays on the device: time, images per second, memory, loss.

    python benchmarks/step.py [--config=configs/alexnet.py] [--batch_size=128] [--steps=5] [--mesh=1,2]
    launch/local 2 python benchmarks/step.py --mesh=1,2

The loss is of the first step, of random images: near ln(classes) if the initial values are sound.
"""

import argparse
import math
import resource
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from alexnet_jax import build, get_config, hosts, huge_pages, learning, step
from alexnet_jax.augment import statistics
from alexnet_jax.learning import Plateau
from alexnet_jax.mesh import DATA, mesh_for, on_devices

CONFIG = Path(__file__).parent.parent / "configs" / "alexnet.py"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default=str(CONFIG))
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=5, help="timed, after one that is not")
    parser.add_argument("--mesh", default="-1,-1", help="data,tower")
    args = parser.parse_args()
    hosts.start()
    config = get_config(args.config)
    config.batch_size = args.batch_size
    config.mesh = tuple(int(n) for n in args.mesh.split(","))
    lowered, (state, *rest), which = resident_step(config)
    began = time.perf_counter()
    compiled = lowered.compile()
    compile_seconds = time.perf_counter() - began
    state, metrics = compiled(state, *rest)
    loss = float(metrics["loss"])
    seconds = []
    for _ in range(args.steps):
        began = time.perf_counter()
        state, metrics = jax.block_until_ready(compiled(state, *rest))
        seconds.append(time.perf_counter() - began)
    median, classes = float(np.median(seconds)), config.net.layers[-1].classes
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    hosts.say(f"{args.config}, batch {config.batch_size}, jax {jax.__version__}; {which}")
    hosts.say(
        f"compiled in {compile_seconds:.1f} s; loss {loss:.4f} (ln {classes} = {math.log(classes):.4f})"
    )
    hosts.say(
        f"{median:.3f} s a step (fastest {min(seconds):.3f}), {config.batch_size / median:.1f} images/s,"
        f" peak memory of the process {peak:.1f} GiB"
    )


def resident_step(config: ConfigDict) -> tuple[jax.stages.Lowered, tuple[Any, ...], str]:
    """The training step, its arguments with random images on the devices, and a line on the mesh."""
    mesh, which = mesh_for(config)
    model = build(config)
    state = step.new_state(model, config, mesh)
    classes, size = config.net.layers[-1].classes, config.data.image_size
    draws = np.random.default_rng(0)
    images_BxHxWx3 = draws.integers(0, 256, (config.batch_size, size, size, 3), dtype=np.uint8)
    labels_B = draws.integers(0, classes, config.batch_size, dtype=np.int32)
    images, labels = on_devices((images_BxHxWx3, labels_B), mesh, DATA)
    stats = statistics(
        np.full((size, size, 3), 128.0), 1000 * np.eye(3), config.data.color_noise_reading, mesh
    )
    rates = learning.rates(config.learning, state.params, 0, 1, Plateau())
    knobs = on_devices(jax.tree.map(np.float32, (rates, config.data.color_noise)), mesh)
    arguments = (state, images, labels, *knobs, stats)
    return step.train_step(model, config, mesh).lower(*arguments), arguments, which


if __name__ == "__main__":
    huge_pages.ask()  # as alexnet-jax does
    main()
