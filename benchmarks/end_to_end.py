"""Training from the cache against the step alone, on a batch that stays on the device.

    python benchmarks/end_to_end.py [--config=configs/digits.py] [--steps=400] [--times=5]
    python benchmarks/end_to_end.py --config=configs/alexnet.py --images=2000 --encoding=jpeg --steps=8

Both in turns, after a first turn that compiles. With ``--images`` the cache is made up, as `loader` does it,
of the size and the number of classes of ImageNet's images.
"""

import argparse
import contextlib
import itertools
import statistics
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from etils import epath
from loader import make_cache

from alexnet_jax import build, get_config, hosts, huge_pages, learning, step
from alexnet_jax.augment import statistics as on_device
from alexnet_jax.cache import load, open_cache
from alexnet_jax.learning import Plateau
from alexnet_jax.loader import training_batches
from alexnet_jax.mesh import mesh_for, on_devices
from alexnet_jax.progress import Meter, Progress, Watch
from alexnet_jax.train import settle

CONFIG = Path(__file__).parent.parent / "configs" / "digits.py"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default=str(CONFIG))
    parser.add_argument("--images", type=int, help="in a cache that is made up")
    parser.add_argument("--encoding", choices=("raw", "jpeg"), default="raw")
    parser.add_argument("--photos", type=Path, help="a folder of photographs, for jpeg; else smooth noise")
    parser.add_argument("--steps", type=int, default=400, help="in a turn")
    parser.add_argument("--times", type=int, default=5)
    args = parser.parse_args()
    config = get_config(args.config)
    with contextlib.ExitStack() as opened:
        directory = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="alexnet-jax-")))
        if args.images:
            make_cache(directory, args.images, args.encoding, args.photos)
            cache = load(directory)
        else:
            settle(config)
            cache = open_cache(config.data, hosts.say)
        mesh, which = mesh_for(config)
        model = build(config)
        state = step.new_state(model, config, mesh)
        update = step.train_step(model, config, mesh)
        info = cache.info
        stats = on_device(info.mean_image, info.color_covariance, config.data.color_noise_reading, mesh)
        batches = training_batches(cache, config, mesh, 0, (1 + args.times) * args.steps)
        opened.enter_context(contextlib.closing(batches))
        last = args.steps * (1 + args.times)
        steps_per_epoch = max(1, info.splits["train"] // config.batch_size)
        progress = opened.enter_context(
            contextlib.closing(Progress(epath.Path(directory), 0, last, steps_per_epoch))
        )
        rates = learning.rates(config.learning, state.params, 0, steps_per_epoch, Plateau())
        knobs = on_devices(jax.tree.map(np.float32, (rates, config.data.color_noise)), mesh)
        resident = None
        number = 0
        seconds: dict[str, list[float]] = {"alone": [], "from the cache": []}
        for _ in range(1 + args.times):
            meter = Meter(
                progress, Watch(len(info.class_names), steps_per_epoch), config.batch_size, args.steps, last
            )
            began = time.perf_counter()
            for images, labels in itertools.islice(batches, args.steps):
                state, metrics = update(state, images, labels, *knobs, stats)
                number += 1
                meter.add(number, metrics, 0.0)
                resident = resident or (images, labels, *knobs)
            meter.fetch()
            seconds["from the cache"].append(time.perf_counter() - began)
            assert resident is not None
            began = time.perf_counter()
            waiting = []
            for _ in range(args.steps):
                state, metrics = update(state, *resident, stats)
                waiting.append(metrics)
                if len(waiting) > 2:
                    jax.block_until_ready(waiting.pop(0))
            jax.block_until_ready(state)
            seconds["alone"].append(time.perf_counter() - began)
    hosts.say(f"{args.config}, batch {config.batch_size}; {which}")
    for name, found in seconds.items():
        each = statistics.median(found[1:]) / args.steps
        hosts.say(f"{name}: {each * 1e3:.3f} ms a step, {config.batch_size / each:,.1f} images/s")
    ratios = [a / b for a, b in zip(seconds["alone"][1:], seconds["from the cache"][1:], strict=True)]
    hosts.say(
        f"from the cache / alone: {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
    )


if __name__ == "__main__":
    huge_pages.ask()  # as alexnet-jax does
    main()
