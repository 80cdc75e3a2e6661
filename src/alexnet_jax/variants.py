"""What the paper left out or changed to see what it is worth, for any net that is built like its own.

Each function changes a config in place, by the names of its layers (``conv1`` to ``conv5``, ``pool5``,
``fc6``, ``fc7``) and in proportion to what is there, so that a recipe for ImageNet and one for small images
share them. Nothing here imports JAX.
"""

import dataclasses

from ml_collections import ConfigDict

from alexnet_jax.layers import (
    LRN,
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
    """Section 3.2's one-GPU net: half the maps of two towers, conv5 and the dense layers whole."""
    if c.net.towers == 2:
        c.net.towers = 1
        for name, size in (("conv5", "features"), ("fc6", "units"), ("fc7", "units")):
            _multiply(c, name, size, 2)


def silent_towers(c: ConfigDict) -> None:
    """The code's #150: the towers meet at the classifier alone; conv2 and fc6 are larger instead."""
    _multiply(c, "conv2", "features", 1.25)
    _multiply(c, "fc6", "units", 2)
    for layer in c.net.layers:
        if getattr(layer, "reads", "own") == "all":
            c.net.layers = replaced(c.net.layers, layer.name, reads="own")


def no_lrn(c: ConfigDict) -> None:
    """Section 3.3: without response normalization, of either kind."""
    c.net.layers = tuple(x for x in c.net.layers if not isinstance(x, LRN | MapNorm))


def pool2(c: ConfigDict) -> None:
    """Section 3.4: pools of 2/2, which do not overlap."""
    c.net.layers = tuple(
        dataclasses.replace(x, window=2) if isinstance(x, MaxPool) else x for x in c.net.layers
    )


def no_color(c: ConfigDict) -> None:
    """Section 4.1: without the second form of augmentation."""
    c.data.color_noise = 0.0


def no_crops(c: ConfigDict) -> None:
    """Section 4.1: without the first form, crops and mirror images; the views of the test stay."""
    c.data.random_crops = False


def no_dropout(c: ConfigDict) -> None:
    """Section 4.2: without dropout."""
    c.net.layers = tuple(x for x in c.net.layers if not isinstance(x, Dropout))


def no_decay(c: ConfigDict) -> None:
    """Section 5: without weight decay, of which the paper says that it lowers the training error too."""
    c.optimizer.weight_decay = c.optimizer.bias_weight_decay = 0.0


def without_conv3(c: ConfigDict) -> None:
    """Section 7: a middle layer less; conv4 reads both towers in its place."""
    c.net.layers = without(replaced(c.net.layers, "conv4", reads="all"), "conv3", "relu3")


def without_conv4(c: ConfigDict) -> None:
    """Section 7: a middle layer less."""
    c.net.layers = without(c.net.layers, "conv4", "relu4")


def without_conv5(c: ConfigDict) -> None:
    """Section 7: a middle layer less; fc6 reads conv4's maps, of which the paper's net has more."""
    c.net.layers = without(c.net.layers, "conv5", "relu5")


def tanh(c: ConfigDict) -> None:
    """Section 3.1: tanh in the place of every ReLU."""

    def of(layer: Layer) -> Layer:
        return Tanh(layer.name.replace("relu", "tanh")) if isinstance(layer, ReLU) else layer

    c.net.layers = tuple(map(of, c.net.layers))


def sixth_conv(c: ConfigDict) -> None:
    """Table 2's models with an asterisk: a sixth convolution over the last pool (the code's #141)."""
    like = next(x for x in reversed(c.net.layers) if isinstance(x, Conv))
    conv6 = dataclasses.replace(like, name="conv6", reads="all", std=0.03, bias=1.0)
    c.net.layers = after(c.net.layers, "pool5", conv6, ReLU("relu6c"))


def batch256(c: ConfigDict) -> None:
    """The code's #170-256-double: twice the batch, twice the rate, of biases and single layers too."""
    c.batch_size *= 2
    for settings in (c.optimizer, *c.optimizer.layers.values()):
        before = dict(settings)
        for key in ("learning_rate", "bias_learning_rate"):
            if key in settings and settings[key] == before[key]:  # else it follows the other one
                settings[key] *= 2


def small_bias(c: ConfigDict) -> None:
    """Biases of 0.1 where the paper has 1, as Caffe has them."""
    for layer in c.net.layers:
        if getattr(layer, "bias", 0.0) == 1.0:
            c.net.layers = replaced(c.net.layers, layer.name, bias=0.1)


# In the order in which they are applied; and what changes the same thing twice.
ABLATIONS = (
    *(one_tower, silent_towers, sixth_conv, no_lrn, pool2, no_color, no_crops, no_dropout, no_decay),
    *(without_conv3, without_conv4, without_conv5, tanh),
)
EXCLUSIVE = (
    *(frozenset({"silent_towers", other}) for other in ("one_tower", "without_conv3", "sixth_conv")),
    frozenset({"without_conv3", "without_conv4"}),  # of which one talks where the other is gone
)


def _multiply(c: ConfigDict, name: str, size: str, factor: float) -> None:
    layer = next(x for x in c.net.layers if x.name == name)
    c.net.layers = replaced(c.net.layers, name, **{size: round(factor * getattr(layer, size))})
