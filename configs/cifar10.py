"""CIFAR-10: cuda-convnet's networks, which the paper's authors trained before ImageNet, and a small AlexNet.

    alexnet-jax train --config=cifar10:quick --workdir=runs/quick
    alexnet-jax evaluate --workdir=runs/quick

The data is TFDS's cifar10 (docs/data.md). A variant chooses the network; ``quick`` is the default.

quick: `layers-80sec.cfg`, "26 % error in 80 seconds". The file does not give a schedule: 20 epochs and two
    reductions of the learning rate are our choice. Reached 22.61 % test error with one view on 2026-11-26,
    in 5 minutes on 2 cores (JAX_NUM_CPU_DEVICES=2; docs/results.md); 22.98 % on 2026-11-28 in 8 minutes
    on one CPU device, on 2 cores of another machine.
lrn18: `layers-18pct.cfg`, "18 % error in 20 minutes": response normalization over the positions of each
    channel after the first two pools, no hidden layer. 120 epochs, then 10 at a tenth of the learning rate
    and 10 at a hundredth. Reached 18.60 % test error with one view on 2026-11-24, in 88 minutes on 2 cores
    (JAX_NUM_CPU_DEVICES=2).
figure1_relu, figure1_tanh: the four-layer network of figure 1: lrn18 without normalization, weight decay or
    any other regularization, at a constant learning rate. configs/figure1.py finds the best rate for each.
unit_pixels: only with figure1_relu or figure1_tanh. Divides the images by 64, to a standard deviation of
    about 1; the weights of conv1 start with a standard deviation of 0.05 instead of 0.0001.
local13, local11: `layers-conv-local-13pct.cfg` and `-11pct.cfg`, the 13 % and 11 % of section 3.3: two
    locally connected layers, crops of 24x24, mirror images. local11 also has LRN, and twice as many channels
    in local3. 500 epochs, then 10 at a tenth of the learning rate and 10 at a hundredth, as their notes say.
    configs/section33.py has a shorter schedule, and measures the effect of LRN alone.
towers: a small AlexNet with every ingredient of the large one: two towers, each of which reads both in
    conv3, fc6 and fc7; LRN, overlapping pools, dropout, crops of 24x24, mirror images and colour noise; 12
    epochs. Reached 28.24 ± 0.30 % test error with ten views on 2026-11-24, in 8 to 10 minutes on one core.
    It has all ablations of alexnet_jax/variants.py: configs/ablations.py trains them, and
    configs/transfer.py ``sixth_conv``. (``no_lrn`` can be combined with lrn18 and local11 too.)
batch256: only with towers. Twice the batch size and twice the learning rate.
batch_norm: only with towers. Batch normalization after each convolution instead of LRN.
lars: only with towers. LARS with a warm-up and a cosine schedule for batches of 2,048 images. With
    batch_norm it reached 27.41 ± 0.35 % test error with ten views on 2026-11-27, alone 49.53 ± 5.49 %.
"""

from ml_collections import ConfigDict

from alexnet_jax import variants as v
from alexnet_jax.config import base, with_variants
from alexnet_jax.layers import (
    LRN,
    AvgPool,
    Classifier,
    Conv,
    Dense,
    Dropout,
    Local,
    MapNorm,
    MaxPool,
    ReLU,
    replaced,
    without,
)

QUICK = (
    Conv("conv1", features=32, kernel=5, padding=(2, 2), std=1e-4),
    ReLU("relu1"),
    MaxPool("pool1", window=3, stride=2, ceil=True),  # 32 -> 16
    Conv("conv2", features=32, kernel=5, padding=(2, 2), std=0.01),
    ReLU("relu2"),
    AvgPool("pool2", window=3, stride=2, ceil=True),  # 16 -> 8
    Conv("conv3", features=64, kernel=5, padding=(2, 2), std=0.01),
    ReLU("relu3"),
    AvgPool("pool3", window=3, stride=2, ceil=True),  # 8 -> 4
    Dense("fc64", units=64, std=0.1),
    ReLU("relu64"),
    Classifier("fc10", classes=10, std=0.1),
)

LRN18 = (
    Conv("conv1", features=32, kernel=5, padding=(2, 2), std=1e-4),
    ReLU("relu1"),
    MaxPool("pool1", window=3, stride=2, ceil=True),
    MapNorm("norm1", window=3, alpha=5e-5),
    Conv("conv2", features=32, kernel=5, padding=(2, 2), std=0.01),
    ReLU("relu2"),
    AvgPool("pool2", window=3, stride=2, ceil=True),
    MapNorm("norm2", window=3, alpha=5e-5),
    Conv("conv3", features=64, kernel=5, padding=(2, 2), std=0.01),
    ReLU("relu3"),
    AvgPool("pool3", window=3, stride=2, ceil=True),
    Classifier("fc10", classes=10, std=0.01),
)


LOCAL13 = (
    Conv("conv1", features=64, kernel=5, padding=(2, 2), std=1e-4),
    ReLU("relu1"),
    MaxPool("pool1", window=3, stride=2, ceil=True),  # 24 -> 12
    Conv("conv2", features=64, kernel=5, padding=(2, 2), std=0.01),
    ReLU("relu2"),
    MaxPool("pool2", window=3, stride=2, ceil=True),  # 12 -> 6
    Local("local3", features=32, kernel=3, padding=(1, 1), std=0.04),
    ReLU("relu3"),
    Local("local4", features=32, kernel=3, padding=(1, 1), std=0.04),
    ReLU("relu4"),
    Classifier("fc10", classes=10, std=0.01),
)

# In cuda-convnet LRN has k = 1, and alpha is divided by the window.
LOCAL11 = (
    *LOCAL13[:3],
    LRN("norm1", window=9, alpha=1e-3, k=1.0, divide_alpha=True),
    *LOCAL13[3:5],
    LRN("norm2", window=9, alpha=1e-3, k=1.0, divide_alpha=True),
    *replaced(LOCAL13[5:], "local3", features=64),
)

TOWERS = (
    Conv("conv1", features=16, kernel=5, padding=(2, 2)),
    ReLU("relu1"),
    LRN("norm1"),
    MaxPool("pool1", window=3, stride=2, ceil=True),  # 24 -> 12
    Conv("conv2", features=24, kernel=5, padding=(2, 2), std=0.03, bias=0.1),
    ReLU("relu2"),
    LRN("norm2"),
    MaxPool("pool2", window=3, stride=2, ceil=True),  # 12 -> 6
    Conv("conv3", features=32, kernel=3, padding=(1, 1), reads="all", std=0.05),
    ReLU("relu3"),
    Conv("conv4", features=32, kernel=3, padding=(1, 1), std=0.05, bias=0.1),
    ReLU("relu4"),
    Conv("conv5", features=32, kernel=3, padding=(1, 1), std=0.05, bias=0.1),
    ReLU("relu5"),
    MaxPool("pool5", window=3, stride=2, ceil=True),  # 6 -> 3
    Dense("fc6", units=128, reads="all", std=0.05, bias=0.1),
    ReLU("relu6"),
    Dropout("drop6"),
    Dense("fc7", units=128, reads="all", std=0.05, bias=0.1),
    ReLU("relu7"),
    Dropout("drop7"),
    Classifier("fc8", classes=10, std=0.05),
)


def quick(c: ConfigDict) -> None:
    c.net.layers = QUICK
    c.optimizer.layers = ConfigDict({"fc64": {"weight_decay": 0.03}, "fc10": {"weight_decay": 0.03}})
    c.schedule.boundaries = (16.0, 18.0)
    c.num_epochs = 20.0


def lrn18(c: ConfigDict) -> None:
    c.net.layers = LRN18
    c.optimizer.layers = ConfigDict({"fc10": {"weight_decay": 1.0}})
    c.schedule.boundaries = (120.0, 130.0)
    c.num_epochs = 140.0


def figure1_relu(c: ConfigDict) -> None:
    c.net.layers = without(LRN18, "norm1", "norm2")
    c.optimizer.weight_decay = 0.0
    c.schedule.name = "constant"
    c.num_epochs = 10.0


def figure1_tanh(c: ConfigDict) -> None:
    figure1_relu(c)
    v.tanh(c)
    c.num_epochs = 50.0


def unit_pixels(c: ConfigDict) -> None:
    c.data.pixel_std = 64.0
    c.net.layers = replaced(c.net.layers, "conv1", std=0.05)


def local13(c: ConfigDict) -> None:
    c.net.layers = LOCAL13
    c.data.crop_size = 24
    c.data.flip = True
    c.optimizer.weight_decay = 0.0
    decayed = {name: {"weight_decay": 0.004} for name in ("local3", "local4", "fc10")}
    c.optimizer.layers = ConfigDict(decayed)
    c.schedule.boundaries = (500.0, 510.0)
    c.num_epochs = 520.0


def local11(c: ConfigDict) -> None:
    local13(c)
    c.net.layers = LOCAL11
    c.optimizer.layers.fc10.weight_decay = 0.01


def towers(c: ConfigDict) -> None:
    c.net.towers, c.net.layers = 2, TOWERS
    c.data.crop_size = 24
    c.data.flip = True
    c.data.color_noise = 0.1
    c.optimizer.learning_rate = 0.01
    c.optimizer.bias_learning_rate = c.optimizer.get_oneway_ref("learning_rate")
    c.optimizer.weight_decay = 5e-4
    c.schedule.boundaries = (10.0, 11.0)
    c.num_epochs = 12.0


def lars(c: ConfigDict) -> None:
    v.lars(c)
    c.batch_size = 2048
    c.optimizer.learning_rate = 80.0  # for 8,192 images, so 20
    c.schedule.warmup_epochs = 2.0


def get_config(variants: str = "") -> ConfigDict:
    c = base()
    c.data.source = "tfds:cifar10"
    c.data.validation = 5000.0
    c.data.image_size = c.data.crop_size = 32
    c.data.flip = False
    c.data.color_noise = 0.0
    c.net.towers = 1
    c.optimizer.learning_rate = 0.001
    c.optimizer.bias_learning_rate = 2 * c.optimizer.get_oneway_ref("learning_rate")
    c.optimizer.weight_decay = 0.004
    c.optimizer.bias_weight_decay = 0.0
    c.schedule.name = "steps"
    nets = [quick, lrn18, figure1_relu, figure1_tanh, local13, local11, towers]
    known = {
        change.__name__: change
        for change in (*nets, unit_pixels, *v.ABLATIONS, v.batch256, v.batch_norm, lars)
    }
    names = [net.__name__ for net in nets]
    if not {name.strip() for name in variants.split(",")} & {*names}:
        variants = f"quick,{variants}"
    with_norms = {"lrn18", "local11", "towers"}
    contradictions = [
        frozenset(names),
        *v.EXCLUSIVE,
        *(frozenset({"lars", other}) for other in ("batch256", "no_decay")),
        frozenset({"batch_norm", "no_lrn"}),
        *(frozenset({name, "unit_pixels"}) for name in names if not name.startswith("figure1")),
        *(
            frozenset({name, other})
            for name in names
            for other in (*(change.__name__ for change in v.ABLATIONS), "batch256", "batch_norm", "lars")
            if name != "towers" and not (other == "no_lrn" and name in with_norms)
        ),
    ]
    return with_variants(c, variants, known, contradictions)
