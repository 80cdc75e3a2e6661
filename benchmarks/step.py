"""Measure one training step on a batch that stays on the device: time, images per second, memory, loss.

    python benchmarks/step.py [--config=configs/alexnet.py] [--batch_size=128] [--steps=5] [--mesh=1,2]
    launch/local 2 python benchmarks/step.py --mesh=1,2

The loss is that of the first step, on random images. It is near ln(classes) if the initial values are right.
"""

import math
import resource
import time
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict
from resident import options, recipe, resident_step

from alexnet_jax.parallel import hosts
from alexnet_jax.runtime import huge_pages
from alexnet_jax.training.state import TrainState


class Measured(NamedTuple):
    """What `measure` found.

    Attributes:
      which: a line that describes the mesh.
      compile_seconds: seconds that the compiler took.
      loss: the loss of the first step.
      seconds: seconds of a step, in each measurement.
      compiled: the compiled step.
      arguments: the arguments of the next step; the first is the state.
    """

    which: str
    compile_seconds: float
    loss: float
    seconds: list[float]
    compiled: jax.stages.Compiled
    arguments: tuple[Any, ...]

    @property
    def state(self) -> TrainState:
        return self.arguments[0]


def measure(config: ConfigDict, steps: int, at_once: int = 1) -> Measured:
    """Measure the training step, after an untimed one.

    Args:
      config: recipe.
      steps: number of measurements.
      at_once: number of steps in a measurement. The host waits only for the last one.
    """
    lowered, (state, *rest), which = resident_step(config)
    began = time.perf_counter()
    compiled = lowered.compile()
    compile_seconds = time.perf_counter() - began
    state, metrics = compiled(state, *rest)
    loss = float(metrics["loss"])
    seconds = []
    for _ in range(steps):
        began = time.perf_counter()
        for _ in range(at_once):
            state, metrics = compiled(state, *rest)
        jax.block_until_ready((state, metrics))
        seconds.append((time.perf_counter() - began) / at_once)
    return Measured(which, compile_seconds, loss, seconds, compiled, (state, *rest))


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--steps", type=int, default=5, help="number of timed steps, after an untimed one")
    args = parser.parse_args()
    hosts.start()
    config = recipe(args)
    found = measure(config, args.steps)
    median, classes = float(np.median(found.seconds)), config.net.layers[-1].classes
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    hosts.say(f"{args.config}, batch {config.batch_size}, jax {jax.__version__}; {found.which}")
    hosts.say(
        f"compiled in {found.compile_seconds:.1f} s; loss {found.loss:.4f}"
        f" (ln {classes} = {math.log(classes):.4f})"
    )
    hosts.say(
        f"{median:.5f} s a step (fastest {min(found.seconds):.5f}),"
        f" {config.batch_size / median:.1f} images/s, peak memory of the process {peak:.1f} GiB"
    )


if __name__ == "__main__":
    huge_pages.ask()  # as alexnet-jax does
    main()
