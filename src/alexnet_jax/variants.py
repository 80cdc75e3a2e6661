"""Variants of a network like the paper's: its ablations, and a few other changes.

Each function changes a config in place. It finds layers by their names (``conv1`` to ``conv5``, ``pool5``,
``fc6``, ``fc7``) and multiplies their sizes, so that recipes for ImageNet and for small images can share the
functions. Nothing here imports JAX.
"""

import dataclasses

from ml_collections import ConfigDict

from alexnet_jax.layers import (
    LRN,
    BatchNorm,
    Conv,
    Dropout,
    Layer,
    MapNorm,
    MaxPool,
    ReLU,
    Tanh,
    after,
    replaced,
    without,
)


def one_tower(c: ConfigDict) -> None:
    """Section 3.2, the one-GPU network: use one tower, and double the sizes of only conv5, fc6 and fc7."""
    if c.net.towers == 2:
        c.net.towers = 1
        for name, size in (("conv5", "features"), ("fc6", "units"), ("fc7", "units")):
            _multiply(c, name, size, 2)


def silent_towers(c: ConfigDict) -> None:
    """Experiment #150 of the authors' code: let no tower read the other, and enlarge conv2 and fc6.

    The paper's network then has 160 channels in conv2 and 4096 units in fc6, each per tower.
    """
    _multiply(c, "conv2", "features", 1.25)
    _multiply(c, "fc6", "units", 2)
    for layer in c.net.layers:
        if getattr(layer, "reads", "own") == "all":
            c.net.layers = replaced(c.net.layers, layer.name, reads="own")


def no_lrn(c: ConfigDict) -> None:
    """Section 3.3: remove response normalization, of either kind."""
    c.net.layers = tuple(x for x in c.net.layers if not isinstance(x, LRN | MapNorm))


def pool2(c: ConfigDict) -> None:
    """Section 3.4: pool over windows of 2x2 with stride 2, which do not overlap."""
    c.net.layers = tuple(
        dataclasses.replace(x, window=2) if isinstance(x, MaxPool) else x for x in c.net.layers
    )


def no_color(c: ConfigDict) -> None:
    """Section 4.1: remove colour noise."""
    c.data.color_noise = 0.0


def no_crops(c: ConfigDict) -> None:
    """Section 4.1: remove crops and mirror images from training. The ten views of a test keep them."""
    c.data.random_crops = False


def no_dropout(c: ConfigDict) -> None:
    """Section 4.2: remove dropout."""
    c.net.layers = tuple(x for x in c.net.layers if not isinstance(x, Dropout))


def no_decay(c: ConfigDict) -> None:
    """Section 5: remove weight decay. The paper says that it also reduces the training error."""
    c.optimizer.weight_decay = c.optimizer.bias_weight_decay = 0.0


def without_conv3(c: ConfigDict) -> None:
    """Section 7: remove conv3, a middle layer. Now conv4 reads both towers, as conv3 did."""
    c.net.layers = without(replaced(c.net.layers, "conv4", reads="all"), "conv3", "relu3")


def without_conv4(c: ConfigDict) -> None:
    """Section 7: remove conv4, a middle layer."""
    c.net.layers = without(c.net.layers, "conv4", "relu4")


def without_conv5(c: ConfigDict) -> None:
    """Section 7: remove conv5, a middle layer. Now fc6 reads conv4, which has more channels in the paper."""
    c.net.layers = without(c.net.layers, "conv5", "relu5")


def tanh(c: ConfigDict) -> None:
    """Section 3.1: replace each ReLU by tanh."""

    def of(layer: Layer) -> Layer:
        return Tanh(layer.name.replace("relu", "tanh")) if isinstance(layer, ReLU) else layer

    c.net.layers = tuple(map(of, c.net.layers))


def sixth_conv(c: ConfigDict) -> None:
    """Table 2, models with an asterisk: add a sixth convolution after the last pool (experiment #141)."""
    like = next(x for x in reversed(c.net.layers) if isinstance(x, Conv))
    conv6 = dataclasses.replace(like, name="conv6", reads="all", std=0.03, bias=1.0)
    c.net.layers = after(c.net.layers, "pool5", conv6, ReLU("relu6c"))


def batch256(c: ConfigDict) -> None:
    """Experiment #170-256-double: double the batch size and all learning rates, also of single layers."""
    c.batch_size *= 2
    for settings in (c.optimizer, *c.optimizer.layers.values()):
        before = dict(settings)
        for key in ("learning_rate", "bias_learning_rate"):
            if key in settings and settings[key] == before[key]:  # otherwise it follows the other one
                settings[key] *= 2


def batch_norm(c: ConfigDict) -> None:
    """Replace response normalization by batch normalization after each convolution, as in AlexNet-BN.

    AlexNet-BN is the network of You, Gitman and Ginsburg (2017), ``models/alexnet_bn`` of NVIDIA's Caffe. The
    first one is called ``norm1``. The convolutions keep their biases, which start at 0 and have no effect.
    """
    no_lrn(c)
    for layer in c.net.layers:
        if isinstance(layer, Conv):
            c.net.layers = replaced(c.net.layers, layer.name, bias=0.0)
            norm = BatchNorm(layer.name.replace("conv", "norm"), epsilon=1e-4)
            c.net.layers = after(c.net.layers, layer.name, norm)


def lars(c: ConfigDict) -> None:
    """Use LARS with a warm-up and a cosine schedule, for large batches.

    The settings are those for AlexNet-BN with 8,192 images. The learning rates scale with ``batch_size``.
    """
    c.batch_size = c.optimizer.reference_batch_size = 8192
    c.optimizer.name = "lars"
    c.optimizer.learning_rate, c.optimizer.bias_learning_rate = 10.0, 0.1
    c.optimizer.bias_weight_decay = 0.0
    c.optimizer.layers = ConfigDict()
    c.schedule.name, c.schedule.boundaries, c.schedule.warmup_epochs = "cosine", (), 5.0


def small_bias(c: ConfigDict) -> None:
    """Start with biases of 0.1 instead of 1, as in Caffe."""
    for layer in c.net.layers:
        if getattr(layer, "bias", 0.0) == 1.0:
            c.net.layers = replaced(c.net.layers, layer.name, bias=0.1)


ABLATIONS = (  # in the order in which they are applied
    *(one_tower, silent_towers, sixth_conv, no_lrn, pool2, no_color, no_crops, no_dropout, no_decay),
    *(without_conv3, without_conv4, without_conv5, tanh),
)
EXCLUSIVE = (  # sets of which at most one variant can be chosen
    *(frozenset({"silent_towers", other}) for other in ("one_tower", "without_conv3", "sixth_conv")),
    frozenset({"without_conv3", "without_conv4"}),  # without conv3, conv4 reads both towers
)


def _multiply(c: ConfigDict, name: str, size: str, factor: float) -> None:
    layer = next(x for x in c.net.layers if x.name == name)
    c.net.layers = replaced(c.net.layers, name, **{size: round(factor * getattr(layer, size))})
