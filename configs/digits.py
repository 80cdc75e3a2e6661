"""Handwritten digits through a small AlexNet: the demo, on data that is already on the machine.

    alexnet-jax train --config=digits --workdir=runs/digits
    alexnet-jax evaluate --workdir=runs/digits --views=10

Two towers with every ingredient of the paper's network: LRN, overlapping pooling, layers that read their own
tower and layers that read both, dropout, crops, weak colour noise. The data are scikit-learn's 1,797 digits
of 8x8 pixels; a fixed fifth of them is the test split.

It takes 40 s on 2 cores, with compilation. Reached 1.67 % test error with one view and 1.39 % with five on
2026-11-28; 1.39 and 1.11 % with two other seeds: see docs/results.md.

The variants ``no_lrn``, ``no_crops`` and ``no_dropout`` remove one ingredient each. ``ablations:digits``
compares them.
"""

from ml_collections import ConfigDict

from alexnet_jax import variants as v
from alexnet_jax.config import base, with_variants
from alexnet_jax.layers import LRN, Classifier, Conv, Dense, Dropout, MaxPool, ReLU

LAYERS = (
    Conv("conv1", features=24, kernel=3, padding=(1, 1), std=0.1),
    ReLU("relu1"),
    LRN("norm1"),
    Conv("conv2", features=32, kernel=3, padding=(1, 1), std=0.05),
    ReLU("relu2"),
    LRN("norm2"),
    Conv("conv3", features=48, kernel=3, padding=(1, 1), reads="all", std=0.05),
    ReLU("relu3"),
    Conv("conv4", features=48, kernel=3, padding=(1, 1), std=0.05),
    ReLU("relu4"),
    MaxPool("pool4", window=3, stride=2),  # 7 -> 3
    Dense("fc6", units=256, reads="all", std=0.05),
    ReLU("relu6"),
    Dropout("drop6"),
    Dense("fc7", units=256, reads="all", std=0.1),
    ReLU("relu7"),
    Dropout("drop7"),
    Classifier("fc8", classes=10, std=0.1),
)


def get_config(variants: str = "") -> ConfigDict:
    c = base()
    c.batch_size = 16
    c.num_epochs = 50.0
    c.data.source = "sklearn:digits"
    c.data.image_size, c.data.crop_size = 8, 7
    c.data.flip = False  # a mirrored 2 is not a 2
    c.data.validation = 0.1
    c.data.pixel_std = 64.0  # a standard deviation of about 1; the first layer is not 11x11
    c.net.towers, c.net.layers = 2, LAYERS
    c.optimizer.learning_rate = 0.01
    c.schedule.name = "steps"
    c.schedule.boundaries = (35.0, 45.0)
    c.log_every_epochs = 2.5
    c.eval_every_epochs = 5.0
    c.checkpoint_every_epochs = 5.0
    known = {change.__name__: change for change in (v.no_lrn, v.no_crops, v.no_dropout)}
    return with_variants(c, variants, known)
