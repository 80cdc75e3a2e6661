"""Measure ten views of a batch that stays on the device, as in evaluation: time and patches per second.

python benchmarks/ten_views.py [--config=configs/alexnet.py] [--batch_size=128] [--steps=2] [--mesh=2,1]
"""

import time

import jax
import numpy as np
from ml_collections import ConfigDict
from resident import options, recipe, resident

from alexnet_jax.parallel import hosts
from alexnet_jax.parallel.axes import splits_units
from alexnet_jax.runtime import huge_pages
from alexnet_jax.training import step


def measure(config: ConfigDict, steps: int, at_once: int = 1) -> tuple[list[float], str]:
    """Return the seconds of ten views in each measurement, and a line that describes the mesh.

    The first run is not timed.

    Args:
      config: recipe.
      steps: number of measurements.
      at_once: number of batches in a measurement. The host waits only for the last one.
    """
    on_device = resident(config)
    predict = step.log_probabilities(on_device.model, config.data, on_device.mesh, splits_units(config))
    arguments = (on_device.state.params, on_device.images, on_device.stats)
    jax.block_until_ready(predict(*arguments, views=10))
    seconds = []
    for _ in range(steps):
        began = time.perf_counter()
        jax.block_until_ready([predict(*arguments, views=10) for _ in range(at_once)])
        seconds.append((time.perf_counter() - began) / at_once)
    return seconds, on_device.which


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--steps", type=int, default=2, help="number of timed steps, after an untimed one")
    args = parser.parse_args()
    hosts.start()
    seconds, which = measure(recipe(args), args.steps)
    fastest = min(seconds)
    hosts.say(f"{args.config}, batch {args.batch_size}, jax {jax.__version__}; {which}")
    hosts.say(
        f"{np.median(seconds):.3f} s for ten views (fastest {fastest:.3f}),"
        f" {10 * args.batch_size / fastest:.1f} patches/s"
    )


if __name__ == "__main__":
    huge_pages.ask()  # as alexnet-jax does
    main()
