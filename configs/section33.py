"""Section 3.3's four-layer networks on CIFAR-10: 13 % test error without response normalization, 11 % with.

    alexnet-jax sweep --config=section33:budget --workdir=runs/section33
    alexnet-jax sweep --config=section33:lrn --workdir=runs/lrn

recipe (the default): both networks as in their authors' notes, 520 epochs. Not run yet. The published
    networks were trained on all 50,000 images and tested with nine views. Here 5,000 images are for
    validation (``--config.data.validation=0.0`` trains on all), and there are ten views.
budget: the same for 40 epochs: 32, then 4 at a tenth of the learning rate and 4 at a hundredth. Reached
    17.44 % test error without LRN and 17.25 % with it, ten views, on 2026-11-24, in an hour on 2 cores, one
    network on each (docs/results.md).
lrn: the 11 % network with and without its two LRN layers, three seeds, 10 epochs. (The two networks of the
    paper also differ in local3, where one has twice as many channels.) Reached 25.29 % test error with LRN
    and 25.65 % without (+0.36 ± 0.21) on 2026-11-24, in 45 minutes on 2 cores.
"""

from typing import Any

from alexnet_jax.paper.published import SECTION33
from alexnet_jax.sweep import Member, Sweep, one_of


def recipe(**settings: Any) -> Sweep:
    members = [
        Member(name, f"cifar10.py:{name}", settings, published=published)
        for name, published in SECTION33.items()
    ]
    return Sweep(tuple(members), baseline="local13", views=10)


def budget() -> Sweep:
    return recipe(num_epochs=40.0, **{"schedule.boundaries": (32.0, 36.0)})


def lrn() -> Sweep:
    short = {"num_epochs": 10.0, "schedule.boundaries": (8.0, 9.0)}
    members = (
        Member("with LRN", "cifar10.py:local11", short),
        Member("without", "cifar10.py:local11,no_lrn", short),
    )
    return Sweep(members, baseline="with LRN", seeds=(0, 1, 2), views=10)


def sweep(variants: str = "") -> Sweep:
    return one_of(variants, {"recipe": recipe, "budget": budget, "lrn": lrn})
