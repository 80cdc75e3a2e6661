"""Measure the cost of a checkpoint: the time that it adds to the training steps after it.

    python benchmarks/checkpoints.py [--config=configs/alexnet.py] [--batch_size=32] [--steps=12] [--times=8]

Times the same number of steps with and without a checkpoint before them, in turns. The steps must take long
enough for the checkpoint to be written in the background.
"""

import statistics
import tempfile
import time

import jax
from etils import epath
from resident import options, recipe, resident_step

from alexnet_jax.parallel import hosts
from alexnet_jax.runtime import huge_pages
from alexnet_jax.training.checkpoint_writer import CheckpointWriter
from alexnet_jax.training.schedule import Plateau
from alexnet_jax.training.tally import Tally


def main() -> None:
    parser = options(__doc__)
    parser.set_defaults(batch_size=32)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--times", type=int, default=8)
    args = parser.parse_args()
    hosts.start()
    config = recipe(args)
    lowered, (state, *rest), which = resident_step(config)
    update = lowered.compile()

    bytes_kept = sum(x.nbytes for x in jax.tree.leaves(state))
    hosts.say(f"{args.config}, batch {config.batch_size}, {bytes_kept / 1e6:,.1f} MB of state; {which}")
    seconds: dict[bool, list[float]] = {True: [], False: []}
    held: list[float] = []
    with (
        tempfile.TemporaryDirectory(prefix="alexnet-jax-") as directory,
        CheckpointWriter(epath.Path(directory), keep=1) as checkpoints,
    ):
        for turn in range(2 + 2 * args.times):  # the first two are not counted
            saves = turn % 2 == 0
            jax.block_until_ready(state)
            began = time.perf_counter()
            if saves:
                checkpoints.save(turn, state, Plateau(), None, Tally())
                held.append(time.perf_counter() - began)
            for _ in range(args.steps):
                state, metrics = update(state, *rest)
                jax.block_until_ready(metrics)
            seconds[saves].append(time.perf_counter() - began)
            checkpoints.wait()
    lost = [a - b for a, b in zip(seconds[True][1:], seconds[False][1:], strict=True)]
    cost = statistics.median(lost)
    hosts.say(
        f"a checkpoint takes {cost:.2f} s from training ({min(lost):.2f} to {max(lost):.2f}), of which the"
        f" loop waits for {statistics.median(held[1:]):.2f}; one a minute is {cost / 60:.2%};"
        f" {statistics.median(seconds[False][1:]) / args.steps:.3f} s a step"
    )


if __name__ == "__main__":
    huge_pages.ask()  # as alexnet-jax does
    main()
