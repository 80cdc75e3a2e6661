"""Ten views of a batch that stays on the device, as evaluation makes them: time, and patches per second.

python benchmarks/ten_views.py [--config=configs/alexnet.py] [--batch_size=128] [--steps=2] [--mesh=2,1]
"""

import argparse
import time
from pathlib import Path

import jax
import numpy as np

from alexnet_jax import build, get_config, hosts, huge_pages, step
from alexnet_jax.augment import statistics
from alexnet_jax.mesh import DATA, mesh_for, on_devices

CONFIG = Path(__file__).parent.parent / "configs" / "alexnet.py"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default=str(CONFIG))
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=2, help="timed, after one that is not")
    parser.add_argument("--mesh", default="-1,-1", help="data,tower")
    args = parser.parse_args()
    hosts.start()
    config = get_config(args.config)
    config.batch_size = args.batch_size
    config.mesh = tuple(int(n) for n in args.mesh.split(","))
    mesh, which = mesh_for(config)
    model = build(config)
    params = step.new_state(model, config, mesh).params
    size = config.data.image_size
    draws = np.random.default_rng(0)
    images = on_devices(draws.integers(0, 256, (args.batch_size, size, size, 3), dtype=np.uint8), mesh, DATA)
    mean = np.full((size, size, 3), 128.0)
    stats = statistics(mean, 1000 * np.eye(3), config.data.color_noise_reading, mesh)
    predict = step.log_probabilities(model, config.data, mesh, config.parallelism)
    seconds = []
    for _ in range(1 + args.steps):
        began = time.perf_counter()
        jax.block_until_ready(predict(params, images, stats, views=10))
        seconds.append(time.perf_counter() - began)
    fastest = min(seconds[1:])
    hosts.say(f"{args.config}, batch {args.batch_size}, jax {jax.__version__}; {which}")
    hosts.say(
        f"{np.median(seconds[1:]):.3f} s for ten views (fastest {fastest:.3f}),"
        f" {10 * args.batch_size / fastest:.1f} patches/s"
    )


if __name__ == "__main__":
    huge_pages.ask()  # as alexnet-jax does
    main()
