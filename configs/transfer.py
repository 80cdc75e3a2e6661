"""Pre-training and fine-tuning with a sixth convolution, at a scale that fits two cores.

    alexnet-jax sweep --config=transfer --workdir=runs/transfer

As in section 6, a network is trained first on a larger data set and then, with a new last layer, on the
target. Here the larger set is CIFAR-10's 45,000 images of 32x32. The target is 1,200 photographs of ten
ImageNet classes at the same size, from the folder ``$ALEXNET_JAX_IMAGES/imagenette_small``. For comparison
the same network is trained on the photographs from random initial values, at the same learning rates.

It takes 23 minutes on 2 cores, one network on each. Reached on 2026-11-24, on 300 photographs with ten views
and three seeds: 32.11 ± 1.50 % error with pre-training and 40.67 ± 2.19 % without (docs/results.md).
"""

import os
from pathlib import Path

from alexnet_jax.sweep import Member, Sweep

PHOTOGRAPHS = Path(os.environ.get("ALEXNET_JAX_IMAGES", "."), "imagenette_small")


def sweep() -> Sweep:
    network = "cifar10.py:towers,sixth_conv"
    photographs = {
        "data.source": f"folder:{PHOTOGRAPHS}",
        "num_epochs": 100.0,
        "schedule.boundaries": (80.0, 90.0),
        "eval_every_epochs": 10.0,
        "checkpoint_every_epochs": 50.0,
    }
    members = (
        Member("CIFAR-10", network),
        Member("from nothing", network, photographs),
        Member("from CIFAR-10", network, photographs, init_from="CIFAR-10"),
    )
    return Sweep(members, baseline="from nothing", seeds=(0, 1, 2), views=10)
