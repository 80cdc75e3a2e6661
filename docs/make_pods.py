"""Plan the paper's network on pods, and write the tables of docs/pods.md.

    make pods

Each topology is planned in a separate process, because a process has devices of one kind. ``make pods`` also
installs the compilers for TPUs and H100s. It takes about an hour on two cores.
"""

import json
import subprocess
import sys
from pathlib import Path

from alexnet_jax import get_config
from alexnet_jax.parallel.mesh import mesh_for
from alexnet_jax.plan import chips, plan
from alexnet_jax.plan.tables import HEAD, rows
from alexnet_jax.text import markdown

PAGE = Path(__file__).parent / "pods.md"
DEVICES = {"v5e:2x4": 8, "v5e:16x16": 256, "v6e:4x4": 16, "v5p:4x4x8": 128, "h100:8": 8, "h100:32": 32}
SMALL = ("v5e:2x4", "h100:8")
"""Topologies that are also planned for the paper's batch of 128."""


def table(dtype: str, images: int | None) -> str:
    """Plan all topologies with this number of images for each device; None is 128 in all. Return a table."""
    found: list[tuple[str, ...]] = []
    for topology, devices in DEVICES.items():
        if images or topology in SMALL:
            words = [topology, dtype, str(devices * images if images else 128)]
            print(*words, flush=True)
            output = subprocess.run(
                [sys.executable, __file__, *words], stdout=subprocess.PIPE, check=True, text=True
            ).stdout
            found += ((topology, *row) for row in json.loads(output))
    return markdown([("topology", *HEAD), *found])


def plan_one(topology: str, dtype: str, batch_size: str) -> None:
    """Plan every mesh of a topology, and print the rows of the table as JSON."""
    config = get_config("alexnet")
    config.dtype, config.batch_size = dtype, int(batch_size)
    devices = chips.devices_of(topology)
    mesh_for(config, devices)  # refuses what the topology can't do
    json.dump(rows(plan.compare(config, topology, chips.chip_of(topology), devices)), sys.stdout)


def main() -> None:
    """Replace the tables of the page, one after the other."""
    for dtype in ("float32", "bfloat16"):
        for images in (128, None):
            name = f"{dtype}, {f'{images} images for each device' if images else '128 images in all'}"
            before, _, rest = PAGE.read_text().partition(f"<!-- {name} -->\n")
            _, found, after = rest.partition("<!-- end -->")
            if not found:
                raise SystemExit(f"{PAGE} has no place for a table: <!-- {name} --> ... <!-- end -->")
            made = table(dtype, images)
            PAGE.write_text(f"{before}<!-- {name} -->\n\n{made}\n\n<!-- end -->{after}")


if __name__ == "__main__":
    plan_one(*sys.argv[1:]) if sys.argv[1:] else main()
