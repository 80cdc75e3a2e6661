"""Plot how cost grows: images/s against the batch, the cache, the towers and the devices.

    python benchmarks/growth.py [--config=configs/alexnet.py] [--panels=batch] [--json=runs/growth.json]

Each number comes from a separate process with a given number of cores and CPU devices (on Linux). Numbers
that the JSON file holds are not measured again, so panels can be measured one at a time and drawn together.
Use another file on another machine.

A point of training is the fastest step on a batch that stays on the device. A line is fitted to the seconds
of a step over the batch size. Its constant is the cost of any step (the update, reading the weights, sums
over devices), and its slope the cost of an image. Each tower has as many channels as in the recipe, or
the total is constant. For the loader see `loader`.
"""

import dataclasses
import functools
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import jax
import numpy as np
from loader import images_per_second, make_cache, warm_batches
from matplotlib.figure import Figure
from options import parser
from resident import resident_step

from alexnet_jax import get_config
from alexnet_jax.data.cache import load
from alexnet_jax.layers import Conv, Dense
from alexnet_jax.runtime import huge_pages
from alexnet_jax.runtime.limits import cores

BATCHES, IMAGES, TOWERS = (32, 64, 128, 256, 512), (1_000, 10_000, 100_000, 1_000_000), (1, 2, 4)
CORES = tuple(2**i for i in range(cores().bit_length()))
AXES = {"batch": "images a batch", "images": "images in the cache", "towers": "towers", "devices": "cores"}
Numbers: TypeAlias = dict[str, float]
Curves: TypeAlias = dict[str, dict[int, Numbers]]
"""Numbers by name of the curve and position on the axis."""


def train(
    path: str, batch: int, steps: int, data: int, tower: int, towers: int = 0, scale: float = 1
) -> Numbers:
    """Measure the step of a recipe on a mesh (data, tower).

    Args:
      path: recipe.
      batch: number of images in a batch.
      steps: number of timed steps.
      data: size of the data axis.
      tower: size of the tower axis.
      towers: number of towers; 0 for that of the recipe.
      scale: factor for the number of features and units of each layer.
    """
    config = get_config(path)
    config.batch_size, config.mesh = batch, (data, tower)
    config.net.towers = towers or config.net.towers
    layers = list(config.net.layers)
    for i, layer in enumerate(layers):
        if isinstance(layer, Conv):
            layers[i] = dataclasses.replace(layer, features=round(scale * layer.features))
        elif isinstance(layer, Dense):
            layers[i] = dataclasses.replace(layer, units=round(scale * layer.units))
    config.net.layers = tuple(layers)
    lowered, (state, *rest), _ = resident_step(config)
    compiled = lowered.compile()
    memory: Any = compiled.memory_analysis()
    seconds = []
    for _ in range(1 + steps):
        began = time.perf_counter()
        state, _ = jax.block_until_ready(compiled(state, *rest))
        seconds.append(time.perf_counter() - began)
    fastest = min(seconds[1:])
    gigabytes = (memory.argument_size_in_bytes + memory.temp_size_in_bytes) / 1e9
    return {"images/s": batch / fastest, "s a step": fastest, "GB on a device": gigabytes}


def read(encoding: str, count: int, batches: int, photos: Path | None) -> Numbers:
    """Measure the loader on a cache of ``count`` images."""
    with tempfile.TemporaryDirectory(prefix="alexnet-jax-") as directory:
        make_cache(Path(directory), count, encoding, photos)
        began = time.perf_counter()
        cache = load(Path(directory))
        opened = time.perf_counter() - began
        return {"images/s": images_per_second(warm_batches(cache, 128, batches), 128), "s to open": opened}


def curves(panel: str, args: Any, measure: Callable[..., Numbers]) -> Curves:
    net, most = (args.config, args.batch_size, args.steps), CORES[-1]
    own = get_config(args.config).net.towers
    match panel:
        case "batch":
            nets = {n: (args.config, n, args.steps) for n in BATCHES}
            return {
                "one device of all cores": {
                    n: measure(most, 1, train, *net, 1, 1) for n, net in nets.items()
                },
                "a device for each": {
                    n: measure(most, most, train, *net, most, 1) for n, net in nets.items()
                },
            }
        case "images":
            cache = (args.batches, args.photos)
            return {x: {n: measure(most, 1, read, x, n, *cache) for n in IMAGES} for x in ("raw", "jpeg")}
        case "towers":
            return {
                "the recipe's channels per tower": {
                    n: measure(most, 1, train, *net, 1, 1, n) for n in TOWERS
                },
                "the recipe's channels in total": {
                    n: measure(most, 1, train, *net, 1, 1, n, own / n) for n in TOWERS
                },
            }
    split = [n for n in CORES if own % n == 0]
    return {
        "one device": {n: measure(n, 1, train, *net, 1, 1) for n in CORES},
        "a device for each, over data": {n: measure(n, n, train, *net, n, 1) for n in CORES},
        "a device for each, over towers": {n: measure(n, n, train, *net, 1, n) for n in split},
    }


def measured(
    known: dict[str, Numbers], file: Path | None, cores: int, devices: int, what: Any, *arguments: Any
) -> Numbers:
    """Return a known measurement, or measure it in a process with these numbers of cores and CPU devices."""
    key = f"{what.__name__} {' '.join(map(str, arguments))}: {devices} device(s), {cores} core(s)"
    if key not in known:
        os.environ["JAX_NUM_CPU_DEVICES"] = str(devices)
        everything = os.sched_getaffinity(0)
        os.sched_setaffinity(0, sorted(everything)[:cores])
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            known[key] = process.submit(what, *arguments).result()
        os.sched_setaffinity(0, everything)
        if file:
            file.write_text(json.dumps(known, indent=1))
    return known[key]


def line(points: dict[int, Numbers]) -> str:
    """Fit a line to the milliseconds of a step over the images of a batch, by relative error."""
    seconds = np.array([numbers["s a step"] for numbers in points.values()])
    each, fixed = np.polyfit(list(points), 1e3 * seconds, 1, w=1 / seconds)
    return f", {fixed:.3g} ms + {each:.3g} ms an image"


def main() -> None:
    options = parser(__doc__, "alexnet.py")
    options.add_argument("--batch_size", type=int, default=128)
    options.add_argument("--steps", type=int, default=3, help="number of timed steps, after an untimed one")
    options.add_argument("--batches", type=int, default=200, help="batches of 128 images, for the loader")
    options.add_argument(
        "--photos", type=Path, help="folder of photographs, for jpeg; without it, smooth noise"
    )
    options.add_argument("--panels", default=",".join(AXES))
    options.add_argument("--plot", type=Path, default=Path("runs/growth.png"))
    options.add_argument("--json", type=Path)
    args = options.parse_args()
    args.plot.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(args.json.read_text()) if args.json and args.json.exists() else {}
    measure = functools.partial(measured, known, args.json)
    print(f"{args.config}, jax {jax.__version__}, {cores()} cores")
    panels = args.panels.split(",")
    figure = Figure(figsize=(11, 4 * -(-len(panels) // 2)), layout="constrained")
    for position, panel in enumerate(panels, start=1):
        cell = figure.add_subplot(-(-len(panels) // 2), min(2, len(panels)), position)
        for name, points in curves(panel, args, measure).items():
            name += line(points) if panel == "batch" else ""
            print(name)
            for at, numbers in points.items():
                text = ", ".join(f"{value:,.4g} {unit}" for unit, value in numbers.items())
                print(f"{at:12,} {AXES[panel]}: {text}", flush=True)
            cell.plot(list(points), [numbers["images/s"] for numbers in points.values()], "o-", label=name)
            cell.set_xscale("log", base=2)
            cell.set_xticks(list(points), [f"{at:,}" for at in points], minor=False)
        cell.set(xlabel=AXES[panel], ylabel="images/s", ylim=(0, None))
        cell.legend(fontsize=8)
    figure.savefig(args.plot, dpi=120)


if __name__ == "__main__":
    huge_pages.ask()  # as alexnet-jax does
    main()
