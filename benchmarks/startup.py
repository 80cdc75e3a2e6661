"""Measure the time from the command to the first step, for a first run and for later ones.

    python benchmarks/startup.py [--config=configs/digits.py] [--starts=5] [-- --config.KEY=VALUE ...]

Later runs find the compiled programs and the data in their caches. The first step ends when its loss is
printed. Caches and workdirs are temporary. After the first start the files of the libraries are in memory.
"""

import os
import statistics
import tempfile
import time

from command import running
from options import parser


def main() -> None:
    options = parser(__doc__, "digits.py")
    options.add_argument("--starts", type=int, default=5)
    options.add_argument("overrides", nargs="*")
    args = options.parse_args()
    for verb in ([], ["train"]):
        report(
            " ".join(["alexnet-jax", *verb, "--help"]),
            [until("", *verb, "--help") for _ in range(args.starts)],
        )
    with tempfile.TemporaryDirectory(prefix="alexnet-jax-") as directory:
        os.environ |= {"XDG_CACHE_HOME": directory}
        os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
        seconds = [
            until(
                "step 1 ", "train", f"--config={args.config}", f"--workdir={directory}/run{i}",
                "--config.num_steps=1", "--config.log_every=1", *args.overrides,
            )
            for i in range(1 + args.starts)
        ]  # fmt: skip
    print(f"{args.config}, to the first step: {seconds[0]:.2f} s with empty caches")
    report(f"{args.config}, to the first step", seconds[1:])


def until(line: str, *words: str) -> float:
    """Measure the seconds from the start of a command to its first output line that begins with ``line``."""
    began = time.perf_counter()
    with running(*words) as process:
        found = [time.perf_counter() - began for text in process.stdout or () if text.startswith(line)]
    return found[0]


def report(what: str, seconds: list[float]) -> None:
    print(f"{what}: {statistics.median(seconds):.2f} s (fastest {min(seconds):.2f}, of {len(seconds)})")


if __name__ == "__main__":
    main()
