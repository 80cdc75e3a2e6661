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
from typing import Any, NamedTuple

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


class Measured(NamedTuple):
    """Seconds of a step in each counted turn, and a line that describes the mesh."""

    from_cache: list[float]
    alone: list[float]
    which: str


def measure(
    path: str,
    overrides: dict[str, Any],
    steps: int,
    times: int,
    images: int | None,
    photos: Path | None,
    warm: int = 1,
) -> Measured:
    """Measure training from the cache and the step alone, in turns.

    Args:
      path: recipe.
      overrides: values for settings of the recipe, such as ``{"batch_size": 256}``.
      steps: number of steps in a turn.
      times: number of turns that count.
      images: number of images of an artificial cache; None for the recipe's own data.
      photos: folder of photographs for an artificial cache of JPEGs; None for smooth noise.
      warm: number of earlier turns that do not count.
    """
    config = get_config(path)
    from_cache: list[float] = []
    alone: list[float] = []
    with tempfile.TemporaryDirectory(prefix="alexnet-jax-") as directory:
        if images:
            # The cache has no validation split.
            overrides = {**overrides, "data.cache_dir": directory, "schedule.name": "constant"}
        config.update_from_flattened_dict(overrides)
        words = [f"--config={path}", f"--config.log_every={steps}"]
        words += [f"--config.{end}={FAR}" for end in ("num_steps", "eval_every", "checkpoint_every")]
        words += [f"--config.{key}={value}" for key, value in overrides.items()]
        if images:
            cache = cache_path(config.data)
            cache.mkdir()
            make_cache(cache, images, config.data.encoding, photos)
        config = settled(config)
        lowered, (state, *rest), which = resident_step(config)
        update = lowered.compile()
        for turn in range(warm + times):
            per_second = images_per_second(Path(directory, f"run{turn}"), words)
            from_cache.append(config.batch_size / per_second)
            waiting = []
            began = time.perf_counter()
            for _ in range(steps):
                state, metrics = update(state, *rest)
                waiting.append(metrics)
                if len(waiting) > 2:
                    jax.block_until_ready(waiting.pop(0))
            jax.block_until_ready(state)
            alone.append((time.perf_counter() - began) / steps)
    return Measured(from_cache[warm:], alone[warm:], which)


def main() -> None:
    options = parser(__doc__, "digits.py")
    options.add_argument("--batch_size", type=int, help="default: that of the recipe")
    options.add_argument("--images", type=int, help="number of images of an artificial cache")
    options.add_argument("--encoding", choices=("raw", "jpeg"), help="default: that of the recipe")
    options.add_argument(
        "--photos", type=Path, help="folder of photographs, for jpeg; without it, smooth noise"
    )
    options.add_argument("--steps", type=int, default=400, help="number of steps in a turn")
    options.add_argument("--times", type=int, default=5)
    args = options.parse_args()
    given = {"batch_size": args.batch_size, "data.encoding": args.encoding}
    overrides = {key: value for key, value in given.items() if value is not None}
    found = measure(args.config, overrides, args.steps, args.times, args.images, args.photos)
    batch_size = overrides.get("batch_size", get_config(args.config).batch_size)
    print(f"{args.config}, batch {batch_size}; {found.which}")
    for name, seconds in {"alone": found.alone, "from the cache": found.from_cache}.items():
        each = statistics.median(seconds)
        print(f"{name}: {each * 1e3:.3f} ms a step, {batch_size / each:,.1f} images/s")
    ratios = [a / b for a, b in zip(found.alone, found.from_cache, strict=True)]
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
