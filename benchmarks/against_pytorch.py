"""Compare with PyTorch: training and ten views of the paper's network, and training of two CIFAR-10 networks.

    pip install torch
    python benchmarks/against_pytorch.py [--what=train|evaluate|quick|lrn18] [--dtype=TYPE] [--peer=PEER]
                                         [--peer_python=PYTHON]

The modes take turns for several rounds, each in its own process. After the first round only the modes whose
time is within 10 % of the best continue. A row has the fastest step of a mode. A ratio is the best time of a
peer at the same precision divided by ours: above 1, ours is faster. The networks of the peers are in
benchmarks/peers/pytorch.py.

Ours runs as the command line does. "PyTorch" is PyTorch without changes. "expert" is PyTorch with
a hand-written gradient of LRN, in an environment that makes glibc use huge pages and keep freed memory.
"""

import itertools
import math
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from machine import add_peer_python, processor, versions
from options import parser

HERE = Path(__file__).parent
CONFIGS = HERE.parent / "configs"
TUNED = ":".join(
    f"glibc.malloc.{name}={value}"
    for name, value in {"hugetlb": 1, "mmap_max": 0, "trim_threshold": 2**36, "top_pad": 2**28}.items()
)
NETS = {
    "train": "alexnet.py",
    "evaluate": "alexnet.py",
    "quick": "cifar10.py:quick",
    "lrn18": "cifar10.py:lrn18",
}
TYPES = ("float32", "bfloat16")
PEERS = ("PyTorch", "expert")


class Mode(NamedTuple):
    """A way to run a network, and its command."""

    whose: str
    dtype: str
    name: str
    command: tuple[str, ...]
    devices: int = 1


def ours(what: str) -> list[Mode]:
    config = f"--config={CONFIGS / NETS[what]}"
    program = str(HERE / ("ten_views.py" if what == "evaluate" else "step.py"))
    meshes = {"1,1": "one device", "2,1": "a device for each half of the batch"}
    if NETS[what] == "alexnet.py":
        meshes["1,2"] = "a device for each tower"
    modes = []
    for dtype in TYPES if NETS[what] == "alexnet.py" else TYPES[:1]:
        variant = ":bf16" if dtype == "bfloat16" else ""
        for mesh, name in meshes.items():
            devices = 1 if mesh == "1,1" else 2
            modes.append(Mode("ours", dtype, name, (program, config + variant, f"--mesh={mesh}"), devices))
    return modes


def of_peers(what: str, peers: Sequence[str]) -> list[Mode]:
    program = str(HERE / "peers" / "pytorch.py")
    modes = []
    for whose, dtype, compiled, order in itertools.product(
        peers,
        TYPES if NETS[what] == "alexnet.py" else TYPES[:1],
        ("", "compile"),
        ("", "channels_last"),
    ):
        lrn = "hand" if whose == "expert" else ""
        name = "+".join(filter(None, (lrn, compiled, order))) or "eager"
        flags = ("--device=cpu", f"--what={what}", f"--dtype={dtype}", f"--mode={name}")
        modes.append(Mode(whose, dtype, name, (program, *flags)))
    return modes


def fastest_step(mode: Mode, python: str, batch_size: int, steps: int) -> float:
    """Run a mode with a Python, and return the seconds of its fastest step; infinity if the mode fails."""
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(mode.devices)}
    environment |= {"GLIBC_TUNABLES": TUNED} if mode.whose == "expert" else {}
    command = [python, *mode.command, f"--batch_size={batch_size}", f"--steps={steps}"]
    output = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False).stdout
    found = re.search(r"fastest ([\d.]+)", output)
    if found is None:
        print(f"{mode.whose} {mode.dtype} {mode.name} failed: {output.strip()}", file=sys.stderr)
        return math.inf
    return float(found[1])


def compare(
    what: str,
    peers: Sequence[str],
    dtypes: Sequence[str],
    peer_python: str,
    rounds: int,
    batch_size: int,
    steps: int,
) -> None:
    """Run the modes and print a table of them."""
    modes = [mode for mode in (*ours(what), *of_peers(what, peers)) if mode.dtype in dtypes]
    fastest: dict[Mode, float] = {}
    if NETS[what] != "alexnet.py":
        steps *= 20  # a step takes milliseconds
    for number in range(rounds):
        for mode in modes:
            alike = [t for m, t in fastest.items() if (m.whose, m.dtype) == (mode.whose, mode.dtype)]
            if number and fastest[mode] > 1.1 * min(alike):
                continue
            python = sys.executable if mode.whose == "ours" else peer_python
            seconds = fastest_step(mode, python, batch_size, steps)
            fastest[mode] = min(seconds, fastest.get(mode, seconds))
    unit, count = ("patches", 10 * batch_size) if what == "evaluate" else ("images", batch_size)
    print(f"\n{what}, batch {batch_size}, {rounds} rounds of {steps}")
    print(f"{'':8} {'':9} {'mode':40} {'s':>7} {unit + '/s':>10}", end="")
    print("".join(f" {'/ ' + peer:>10}" for peer in peers))
    for mode, seconds in sorted(fastest.items(), key=lambda item: (item[0].dtype, item[0].whose, item[1])):
        if math.isinf(seconds):
            continue
        ratios = [
            min(t for m, t in fastest.items() if (m.whose, m.dtype) == (peer, mode.dtype)) / seconds
            for peer in tuple(peers) * (mode.whose == "ours")
        ]
        print(f"{mode.whose:8} {mode.dtype:9} {mode.name:40} {seconds:7.3f} {count / seconds:10.1f}", end="")
        print("".join(f" {ratio:10.2f}" for ratio in ratios))


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--what", choices=tuple(NETS), help="all by default")
    options.add_argument("--peer", choices=PEERS, help="both by default")
    options.add_argument(
        "--dtype", choices=TYPES, help="both by default; the CIFAR-10 networks have only float32"
    )
    options.add_argument("--rounds", type=int, default=2)
    options.add_argument("--batch_size", type=int, default=128)
    options.add_argument(
        "--steps", type=int, default=3, help="number of timed steps in each process, after an untimed one"
    )
    add_peer_python(options, "PyTorch")
    args = options.parse_args()
    print(versions(["jax", "jaxlib"], args.peer_python, ["torch"]))
    print(processor())
    for what in (args.what,) if args.what else NETS:
        dtypes = (args.dtype,) if args.dtype else TYPES
        peers = (args.peer,) if args.peer else PEERS
        compare(what, peers, dtypes, args.peer_python, args.rounds, args.batch_size, args.steps)


if __name__ == "__main__":
    main()
