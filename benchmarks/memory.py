"""Measure the growth of the memory of a run, from its first hundreds of steps to its last.

    python benchmarks/memory.py [--config=configs/digits.py] [--steps=10000] [-- --config.KEY=VALUE ...]

Runs the real command, with evaluations and checkpoints, and reads its memory at each line of training.
"""

import tempfile
from pathlib import Path

from command import running
from options import parser


def main() -> None:
    options = parser(__doc__, "digits.py")
    options.add_argument("--steps", type=int, default=10_000)
    options.add_argument("overrides", nargs="*")
    args = options.parse_args()
    every = args.steps // 20
    found: list[tuple[int, float]] = []
    with tempfile.TemporaryDirectory(prefix="alexnet-jax-") as directory:
        words = [
            "train", f"--config={args.config}", f"--workdir={directory}",
            f"--config.num_steps={args.steps}", f"--config.log_every={every}",
            f"--config.eval_every={2 * every}", f"--config.checkpoint_every={2 * every}", *args.overrides,
        ]  # fmt: skip
        with running(*words) as process:
            for line in process.stdout or ():
                if line.startswith("step ") and "images/s" in line:
                    found.append((int(line.split()[1]), resident(process.pid)))
                    print(f"step {found[-1][0]:,}: {found[-1][1]:,.1f} MB", flush=True)
    # The first evaluations and checkpoints load programs and start threads.
    (first, before), (last, after) = found[len(found) // 4], found[-1]
    print(f"{after - before:+.1f} MB from step {first:,} to step {last:,}")


def resident(process: int) -> float:
    """Return the resident memory of a process in megabytes, on Linux."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * 4096 / 1e6


if __name__ == "__main__":
    main()
