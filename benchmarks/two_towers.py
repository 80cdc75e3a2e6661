"""Compare the setup of the paper, two processes with one tower each, with one process that has both towers.

    python benchmarks/two_towers.py [--config=configs/alexnet.py] [--batch_size=128] [--steps=3] [--rounds=2]

Runs benchmarks/step.py in each setup in turn, for several rounds, and prints the fastest step of each.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from options import parser

ROOT = Path(__file__).parent.parent

# name, processes, devices of each, mesh
SETUPS = [
    ("one process, one device, both towers", 1, 1, "1,1"),
    ("one process, a device for each tower", 1, 2, "1,2"),
    ("one process, a device for each half of the batch", 1, 2, "2,1"),
    ("two processes, a tower each", 2, 1, "1,2"),
    ("two processes, half of the batch each", 2, 1, "2,1"),
]


def main() -> None:
    options = parser(__doc__, "alexnet.py")
    options.add_argument("--batch_size", type=int, default=128)
    options.add_argument("--steps", type=int, default=3, help="number of steps of each setup in a round")
    options.add_argument("--rounds", type=int, default=2)
    args = options.parse_args()
    fastest = {name: float("inf") for name, *_ in SETUPS}
    for _ in range(args.rounds):
        for name, processes, devices, mesh in SETUPS:
            step = [sys.executable, str(ROOT / "benchmarks" / "step.py"), f"--config={args.config}"]
            step += [f"--batch_size={args.batch_size}", f"--steps={args.steps}", f"--mesh={mesh}"]
            if processes > 1:
                step = [sys.executable, str(ROOT / "launch" / "local"), str(processes), *step]
            environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)}
            done = subprocess.run(step, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            found = re.search(r"fastest ([\d.]+)", done.stdout)
            assert found, done.stdout
            fastest[name] = min(fastest[name], float(found[1]))
    first = next(iter(fastest.values()))
    for name, seconds in fastest.items():
        speed = args.batch_size / seconds
        print(f"{name:50} {seconds:7.3f} s a step {speed:8.1f} images/s {first / seconds:5.2f}")


if __name__ == "__main__":
    main()
