"""Pre-training and fine-tuning with a sixth convolution, on a scale that fits two cores.

    alexnet-jax sweep --config=transfer --workdir=runs/transfer

As in section 6 a net learns from a larger set first and then, with a new last layer, from the one that
counts: here CIFAR-10's 45,000 images of 32x32, and then 1,200 photographs of ten ImageNet classes at the same
size, in the folder ``$ALEXNET_JAX_IMAGES/imagenette_small``. Beside it the same net from nothing, at the same
rates. 23 minutes on 2 cores, a net on each, on 2026-11-24; it reached 32.11 +- 1.50 % error from CIFAR-10
and 40.67 +- 2.19 % from nothing, of 300 photographs with ten views, three seeds (docs/results.md).
"""

import os
from pathlib import Path

from alexnet_jax.sweep import Member, Sweep

PHOTOGRAPHS = Path(os.environ.get("ALEXNET_JAX_IMAGES", "."), "imagenette_small")


def sweep(variants: str = "") -> Sweep:
    net = "cifar10.py:towers,sixth_conv"
    photographs = {
        "data.source": f"folder:{PHOTOGRAPHS}",
        "num_epochs": 100.0,
        "schedule.boundaries": (80.0, 90.0),
        "eval_every_epochs": 10.0,
        "checkpoint_every_epochs": 50.0,
    }
    members = (
        Member("CIFAR-10", net),
        Member("from nothing", net, photographs),
        Member("from CIFAR-10", net, photographs, init_from="CIFAR-10"),
    )
    return Sweep(members, baseline="from nothing", seeds=(0, 1, 2), views=10)
