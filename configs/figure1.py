"""Figure 1: the number of epochs to 25 % training error on CIFAR-10, with ReLUs and with tanh.

    alexnet-jax sweep --config=figure1 --workdir=runs/figure1
    alexnet-jax report --workdir=runs/figure1 --figure=1 --save=figure1.png

The four-layer networks are ``figure1_relu`` and ``figure1_tanh`` of configs/cifar10.py. In the paper, "the
learning rates for each network were chosen independently to make training as fast as possible". Here each
network is trained with three learning rates, and the fastest one counts.

as_published (the default): pixels of 0 to 255 minus their mean, and cuda-convnet's initial values. Reached
    on 2026-11-24: ReLUs take 6.6 epochs (learning rate 0.004), tanh takes 43.2 (0.008), 6.5 times as many;
    the paper says six times. 70 minutes on 2 cores, one network on each (docs/results.md).
unit_pixels: pixels with a standard deviation of about 1. The pixels of as_published saturate tanh, but not
    ReLUs. Reached on 2026-11-24: ReLUs take 5.8 epochs, tanh takes 9.0 (both at 0.03), 1.5 times as many.
    Half an hour on 2 cores, one network on each (docs/results.md).
"""

from alexnet_jax.sweep import Member, Sweep, one_of


def of_rates(
    variant: str = "", *, relu: tuple[float, ...], tanh: tuple[float, ...], **settings: float
) -> Sweep:
    members = [
        Member(
            f"{word} {rate:g}",
            f"cifar10.py:figure1_{word}{variant}",
            {"optimizer.learning_rate": rate, **settings},
            curve=curve,
        )
        for word, curve, rates in (("relu", "ReLU", relu), ("tanh", "tanh", tanh))
        for rate in rates
    ]
    return Sweep(tuple(members), figure=1)


def as_published() -> Sweep:
    return of_rates(relu=(0.002, 0.004, 0.008), tanh=(0.004, 0.008, 0.016))


def unit_pixels() -> Sweep:
    rates = (0.01, 0.03, 0.1)
    return of_rates(",unit_pixels", relu=rates, tanh=rates, num_epochs=12.0)


def sweep(variants: str = "") -> Sweep:
    return one_of(variants, {"as_published": as_published, "unit_pixels": unit_pixels})
