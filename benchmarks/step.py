"""Measure one training step on a batch that stays on the device: time, images per second, memory, loss.

    python benchmarks/step.py [--config=configs/alexnet.py] [--batch_size=128] [--steps=5] [--mesh=1,2]
    launch/local 2 python benchmarks/step.py --mesh=1,2

The loss is that of the first step, on random images. It is near ln(classes) if the initial values are right.
"""

import math
import resource
import time

import jax
import numpy as np
from resident import options, recipe, resident_step

from alexnet_jax.parallel import hosts
from alexnet_jax.runtime import huge_pages


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--steps", type=int, default=5, help="number of timed steps, after an untimed one")
    args = parser.parse_args()
    hosts.start()
    config = recipe(args)
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


if __name__ == "__main__":
    huge_pages.ask()  # as alexnet-jax does
    main()
