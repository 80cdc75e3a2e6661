"""What a checkpoint costs training: seconds that the steps around it take longer.

    python benchmarks/checkpoints.py [--config=configs/alexnet.py] [--batch_size=32] [--steps=12] [--times=6]

The same number of steps with a checkpoint before them and without, in turns; the steps are long enough for
what is written in the background. The state is the config's, whatever the batch.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from etils import epath

from alexnet_jax import build, get_config, hosts, huge_pages, learning, step
from alexnet_jax.augment import statistics as on_device
from alexnet_jax.checkpoint import Checkpoints
from alexnet_jax.learning import Plateau
from alexnet_jax.mesh import DATA, mesh_for, on_devices

CONFIG = Path(__file__).parent.parent / "configs" / "alexnet.py"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default=str(CONFIG))
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--times", type=int, default=8)
    args = parser.parse_args()
    hosts.start()
    config = get_config(args.config)
    config.batch_size = args.batch_size
    mesh, which = mesh_for(config)
    model = build(config)
    state = step.new_state(model, config, mesh)
    size, classes = config.data.image_size, config.net.layers[-1].classes or 10
    draws = np.random.default_rng(0)
    images_BxHxWx3 = draws.integers(0, 256, (config.batch_size, size, size, 3), dtype=np.uint8)
    labels_B = draws.integers(0, classes, config.batch_size, dtype=np.int32)
    images, labels = on_devices((images_BxHxWx3, labels_B), mesh, DATA)
    stats = on_device(
        np.full((size, size, 3), 128.0), 1000 * np.eye(3), config.data.color_noise_reading, mesh
    )
    rates = learning.rates(config.learning, state.params, 0, 1, Plateau())
    knobs = on_devices(jax.tree.map(np.float32, (rates, config.data.color_noise)), mesh)
    update = step.train_step(model, config, mesh)

    bytes_kept = sum(x.nbytes for x in jax.tree.leaves(state))
    hosts.say(f"{args.config}, batch {config.batch_size}, {bytes_kept / 1e6:,.1f} MB of state; {which}")
    seconds: dict[bool, list[float]] = {True: [], False: []}
    held: list[float] = []
    with (
        tempfile.TemporaryDirectory(prefix="alexnet-jax-") as directory,
        Checkpoints(epath.Path(directory), keep=1) as checkpoints,
    ):
        for turn in range(2 + 2 * args.times):  # the first two compile
            saves = turn % 2 == 0
            jax.block_until_ready(state)
            began = time.perf_counter()
            if saves:
                assert step.all_finite(state)
                checkpoints.save(turn, state, Plateau(), None)
                held.append(time.perf_counter() - began)
            for _ in range(args.steps):
                state, metrics = update(state, images, labels, *knobs, stats)
                jax.block_until_ready(metrics)
            seconds[saves].append(time.perf_counter() - began)
            checkpoints.wait()
    lost = [a - b for a, b in zip(seconds[True][1:], seconds[False][1:], strict=True)]
    cost = statistics.median(lost)
    hosts.say(
        f"a checkpoint takes {cost:.2f} s from training ({min(lost):.2f} to {max(lost):.2f}), of which the"
        f" loop stands still for {statistics.median(held[1:]):.2f}; one a minute is {cost / 60:.2%};"
        f" {statistics.median(seconds[False][1:]) / args.steps:.3f} s a step"
    )


if __name__ == "__main__":
    huge_pages.ask()  # as alexnet-jax does
    main()
