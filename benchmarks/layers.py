"""Measure the time of each layer in a step, forward and backward, with JAX's profiler on a CPU.

    python benchmarks/layers.py [--config=configs/alexnet.py] [--batch_size=128] [--mesh=1,1]

An instruction that the compiler fused from several layers counts for the layer in its name.
"""

import re
import tempfile
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

import jax
from resident import options, recipe, resident_step

from alexnet_jax.runtime import huge_pages

REST = "views, update, sums over devices"


def main() -> None:
    parser = options(__doc__)
    parser.set_defaults(mesh="1,1")
    args = parser.parse_args()
    config = recipe(args)
    lowered, (state, *rest), which = resident_step(config)
    compiled = lowered.compile()
    for _ in range(2):  # the first step touches new memory
        state, _ = jax.block_until_ready(compiled(state, *rest))
    with tempfile.TemporaryDirectory(prefix="alexnet-jax-") as directory:
        with jax.profiler.trace(directory):
            state, _ = jax.block_until_ready(compiled(state, *rest))
        (trace,) = Path(directory).rglob("*.xplane.pb")
        seconds = seconds_of_instructions(trace)

    table: dict[tuple[str, str], float] = defaultdict(float)
    devices = len(state.step.devices())
    hlo = compiled.as_text() or ""
    names = {layer.name for layer in config.net.layers}
    for name, scope in scopes(hlo).items():
        table[layer_of(scope, names)] += seconds[name] / devices
    print(f"{args.config}, batch {config.batch_size}, jax {jax.__version__}; {which}")
    print(f"{'milliseconds of a device':38} {'forward':>8} {'backward':>8}")
    for layer in (*(layer.name for layer in config.net.layers), REST):
        forward, backward = (1e3 * table[layer, way] for way in ("forward", "backward"))
        print(f"{layer:38} {forward:8.1f} {backward:8.1f}")
    print(f"{'together':38} {1e3 * sum(table.values()):8.1f}")


def scopes(hlo: str) -> dict[str, str]:
    """Return the name scope of each instruction of a compiled program, except those that contain others."""
    found = dict(re.findall(r'%([\w.\-]+) = .*metadata=\{op_name="([^"]*)"', hlo))
    outer = set(re.findall(r"%([\w.\-]+) = [^=]* (?:call|conditional|while)\(", hlo))
    return {name: scope for name, scope in found.items() if name not in outer}


def layer_of(scope: str, names: Collection[str]) -> tuple[str, str]:
    """Return the layer of a name scope, or `REST`; and ``forward`` or ``backward``.

    Args:
      scope: as the compiled program has it, such as ``jit(update)/transpose(jvp(fc6))/dot_general``.
      names: names of the layers.
    """
    layer = next((word for word in reversed(re.findall(r"\w+", scope)) if word in names), REST)
    return layer, "backward" if "transpose(" in scope else "forward"


def seconds_of_instructions(trace: Path) -> dict[str, float]:
    """Return the seconds of each instruction, summed over all devices and calls."""
    seconds: dict[str, float] = defaultdict(float)
    for plane in jax.profiler.ProfileData.from_file(str(trace)).planes:
        for line in plane.lines:
            for event in line.events:
                name = event.name.partition("__onednn$")[0]  # XLA appends the function of oneDNN
                seconds[name] += event.duration_ns / 1e9
    return seconds


if __name__ == "__main__":
    huge_pages.ask()  # as alexnet-jax does
    main()
