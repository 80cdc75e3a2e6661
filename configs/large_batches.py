"""Batches of 128 and 2,048 images on CIFAR-10, with the paper's update and with LARS.

    alexnet-jax sweep --config=large_batches --workdir=runs/large_batches

The network is cifar10:towers, a small AlexNet, trained for the same 12 epochs with each batch size. With a
batch of 2,048 there are 252 updates instead of 4,212. Linear scaling is that of Goyal et al. (2017): the
learning rate of 128 images times 16, after a warm-up. LARS is that of You, Gitman and Ginsburg (2017).

Reached, in the order below, 28.76 ± 0.43, 59.59 ± 0.82, 79.56 ± 14.30 (one of three diverged), 49.53 ± 5.49
and 27.41 ± 0.35 % test error with ten views on 2026-11-27 (docs/results.md). The 15 networks take about two
hours on two cores.
"""

from typing import Any

from alexnet_jax.sweep import Member, Sweep


def sweep() -> Sweep:
    large: dict[str, Any] = {"batch_size": 2048}
    scaled = large | {"optimizer.reference_batch_size": 128, "schedule.warmup_epochs": 2.0}
    members = (
        Member("128", "cifar10.py:towers"),
        Member("2,048", "cifar10.py:towers", large),
        Member("2,048, linear scaling", "cifar10.py:towers", scaled),
        Member("2,048, LARS", "cifar10.py:towers,lars", large),
        Member("2,048, LARS, batch norm", "cifar10.py:towers,batch_norm,lars", large),
    )
    return Sweep(members, baseline="128", seeds=(0, 1, 2), views=10)
