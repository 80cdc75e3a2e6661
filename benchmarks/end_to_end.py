"""Compare training from the cache with the step alone, on a batch that stays on the device.

    python benchmarks/end_to_end.py [--config=configs/digits.py] [--steps=400] [--times=5]
    python benchmarks/end_to_end.py --config=configs/alexnet.py --images=1000 --encoding=jpeg --steps=4

Times the real command from its first training line to its second, and the step alone, in turns. The first
turn is not counted. ``--images`` makes an artificial cache, as `loader` does, with the image size and the
number of classes of ImageNet.
"""

import itertools
import json
import statistics
import tempfile
import time
from pathlib import Path

import jax
from command import running
from loader import make_cache
from options import parser
from resident import resident_step

from alexnet_jax import get_config
from alexnet_jax.data.dataset import cache_path
from alexnet_jax.runtime import huge_pages
from alexnet_jax.training.run import settled

FAR = 10**9  # steps


def main() -> None:
    options = parser(__doc__, "digits.py")
    options.add_argument("--images", type=int, help="number of images of an artificial cache")
    options.add_argument("--encoding", choices=("raw", "jpeg"), default="raw")
    options.add_argument(
        "--photos", type=Path, help="folder of photographs, for jpeg; without it, smooth noise"
    )
    options.add_argument("--steps", type=int, default=400, help="number of steps in a turn")
    options.add_argument("--times", type=int, default=5)
    args = options.parse_args()
    config = get_config(args.config)
    words = [f"--config={args.config}", f"--config.log_every={args.steps}"]
    words += [f"--config.{end}={FAR}" for end in ("num_steps", "eval_every", "checkpoint_every")]
    seconds: dict[str, list[float]] = {"alone": [], "from the cache": []}
    with tempfile.TemporaryDirectory(prefix="alexnet-jax-") as directory:
        if args.images:
            config.data.cache_dir, config.data.encoding = directory, args.encoding
            words += [f"--config.data.{name}={config.data[name]}" for name in ("cache_dir", "encoding")]
            words += ["--config.schedule.name=constant"]  # the cache has no validation split
            path = cache_path(config.data)
            path.mkdir()
            make_cache(path, args.images, args.encoding, args.photos)
        config = settled(config)
        lowered, (state, *rest), which = resident_step(config)
        update = lowered.compile()
        for turn in range(1 + args.times):
            per_second = images_per_second(Path(directory, f"run{turn}"), words)
            seconds["from the cache"].append(config.batch_size / per_second)
            waiting = []
            began = time.perf_counter()
            for _ in range(args.steps):
                state, metrics = update(state, *rest)
                waiting.append(metrics)
                if len(waiting) > 2:
                    jax.block_until_ready(waiting.pop(0))
            jax.block_until_ready(state)
            seconds["alone"].append((time.perf_counter() - began) / args.steps)
    print(f"{args.config}, batch {config.batch_size}; {which}")
    for name, found in seconds.items():
        each = statistics.median(found[1:])
        print(f"{name}: {each * 1e3:.3f} ms a step, {config.batch_size / each:,.1f} images/s")
    ratios = [a / b for a, b in zip(seconds["alone"][1:], seconds["from the cache"][1:], strict=True)]
    print(f"from the cache / alone: {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


def images_per_second(workdir: Path, words: list[str]) -> float:
    """Measure the images/s of a new run from its first training line to its second."""
    with running("train", *words, f"--workdir={workdir}") as process:
        steps = (line for line in process.stdout or () if line.startswith("step "))
        list(itertools.islice(steps, 2))
        process.kill()
    second = (workdir / "metrics.jsonl").read_text().splitlines()[1]
    return float(json.loads(second)["images_per_second"])


if __name__ == "__main__":
    huge_pages.ask()  # as alexnet-jax does
    main()
