"""The ablations of the paper: the effect of each of its ideas, beside the published results.

    alexnet-jax sweep --config=ablations:cifar10 --workdir=runs/ablations
    alexnet-jax sweep --config=ablations --workdir=runs/imagenet_ablations
    alexnet-jax sweep --config=ablations:imagenette --workdir=runs/imagenette_ablations
    alexnet-jax sweep --config=ablations:digits --workdir=runs/digits_ablations

``--dry_run`` lists the networks; ``--index=N`` trains one of them, for array jobs. A published result is the
increase of the top-1 and of the top-5 error in percentage points, for the paper's network, on the data set
that is named beside it. Results on CIFAR-10 can be compared with it only roughly.

imagenet (the default): configs/alexnet.py with each ablation that has a published result, ten views. Not
    run yet. 10 trainings of 90 epochs.
cifar10: the small AlexNet of configs/cifar10.py, ten views. Three seeds for each ablation, five for the
    whole network, and an ensemble of these five. Each of the 44 trainings takes 8 to 10 minutes on one core
    (Zen 4), which makes four hours on 2 cores; on Zen 3 it takes 16 to 18 minutes, which makes more than six
    hours. Reached on 2026-11-24 and 25: 28.24 ± 0.30 % test error for the whole network, 26.36 % for the
    ensemble. docs/results.md has the other results.
imagenette: the paper's network at full size on ten classes of ImageNet, in bfloat16, ten views. The recipe
    configs/imagenette.py says where the photographs are. Three seeds of the whole network, one of each
    ablation, ``owt``, and the initial values of the paper: 13 trainings of 90 epochs. Five of them at once
    take five minutes on one H200. Reached on 2026-11-26: 16.29 ± 0.71 % for the whole network, 17.83 %
    without LRN (docs/results.md). Eight of the trainings have not been run to the end.
digits: a sweep to try out, on data that is already on the machine. Three seeds of the demo's network, and of
    three ablations: 12 trainings in 5 minutes on 2 cores (Zen 4). Reached on 2026-11-28: 1.48 ± 0.16 % test
    error for the whole network, 1.39 ± 0.28 without LRN, 1.67 ± 0.28 without crops, 1.94 ± 0.56 without
    dropout. The test has only 360 images.
"""

from alexnet_jax.paper.published import TABLE2
from alexnet_jax.sweep import Ensemble, Member, Published, Sweep, one_of

_2012 = "ILSVRC-2012 validation"
_WORSE = {
    "one_tower": Published("ILSVRC-2010 test", 1.7, 1.2, worse=True),
    "silent_towers": Published(f"{_2012} (experiment #150)", 1.16, 1.12, worse=True),
    "no_lrn": Published(_2012, 1.4, 1.2, worse=True),
    "pool2": Published(_2012, 0.4, 0.3, worse=True),
    "no_color": Published("data set not stated; over 1", 1.0, worse=True),
    "without_conv3": Published("data set not stated; about 2 for any middle layer", 2.0, worse=True),
    "without_conv4": Published("data set not stated; about 2 for any middle layer", 2.0, worse=True),
    "without_conv5": Published("data set not stated; about 2 for any middle layer", 2.0, worse=True),
    "no_crops": None,
    "no_dropout": None,
    "no_decay": None,
    "tanh": None,
    "batch256": Published(f"{_2012}, one view (experiment #170-256-double)", -0.07, 0.08, worse=True),
}


def imagenet() -> Sweep:
    members = [
        Member(name, f"alexnet.py:{name}", published=published)
        for name, published in _WORSE.items()
        if published is not None
    ]
    whole = Member("whole", "alexnet.py", published=TABLE2["1 CNN"])
    return Sweep((whole, *members), baseline="whole", views=10)


def cifar10() -> Sweep:
    members = [
        Member(name, f"cifar10.py:towers,{name}", published=published) for name, published in _WORSE.items()
    ]
    whole = Member("whole", "cifar10.py:towers", seeds=(0, 1, 2, 3, 4))
    five = Ensemble("five whole nets", ("whole",))
    return Sweep((whole, *members), baseline="whole", seeds=(0, 1, 2), views=10, ensembles=(five,))


def imagenette() -> Sweep:
    network = "imagenette.py:bf16"
    names = ("one_tower", "silent_towers", "no_lrn", "pool2", "no_color", "no_crops", "no_dropout", "tanh")
    members = [Member(name, f"{network},{name}", published=_WORSE[name]) for name in names]
    paper = {"data.source": "folder:imagenette2-320"}
    members += [
        Member("owt", f"{network},owt"),
        Member("initial values of the paper", "folder.py:bf16", paper),
    ]
    whole = Member("whole", network, seeds=(0, 1, 2))
    return Sweep((whole, *members), baseline="whole", seeds=(0,), views=10)


def digits() -> Sweep:
    members = [Member(name, f"digits.py:{name}") for name in ("no_lrn", "no_crops", "no_dropout")]
    return Sweep((Member("whole", "digits.py"), *members), baseline="whole", seeds=(0, 1, 2))


def sweep(variants: str = "") -> Sweep:
    return one_of(
        variants, {"imagenet": imagenet, "cifar10": cifar10, "imagenette": imagenette, "digits": digits}
    )
