"""Figure 1: how many epochs to 25 % training error on CIFAR-10, with ReLUs and with tanh.

    alexnet-jax sweep --config=configs/figure1.py --workdir=runs/figure1
    alexnet-jax report --workdir=runs/figure1 --figure=1 --save=figure1.png

The net of four layers is cifar10.py's ``figure1_relu`` and ``figure1_tanh``. As in the paper, "the learning
rates for each network were chosen independently to make training as fast as possible": of several for
each the one that gets there first.
"""

from alexnet_jax.sweep import Member, Sweep

RATES = (0.001, 0.002, 0.004, 0.008)


def sweep(variants: str = "") -> Sweep:
    members = [
        Member(f"{word} {rate:g}", f"cifar10.py:figure1_{word}", {"learning.rate": rate})
        for rate in RATES
        for word in ("relu", "tanh")
    ]
    return Sweep(tuple(members))
