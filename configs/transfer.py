"""Pre-training and fine-tuning with a sixth convolution, at a scale that fits two cores.

    alexnet-jax sweep --config=transfer --workdir=runs/transfer

As in section 6, a net is trained on a larger data set first, and then, with a new last layer, on the target:
here on CIFAR-10's 45,000 images of 32x32, and then on 1,200 photographs of ten ImageNet classes at the same
size, from the folder ``$ALEXNET_JAX_IMAGES/imagenette_small``. For comparison the same net is trained on the
photographs from random initial values, at the same learning rates.

23 minutes on 2 cores, a net on each. Reached 32.11 +- 1.50 % error with pre-training and 40.67 +- 2.19 %
without on 2026-11-24, on 300 photographs with ten views, three seeds (docs/results.md).
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
