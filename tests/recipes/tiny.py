"""A tiny network that compiles quickly and has every kind of layer of the paper."""

from alexnet_jax.config import base, with_variants
from alexnet_jax.layers import LRN, Classifier, Conv, Dense, Dropout, MaxPool, ReLU
from alexnet_jax.variants import batch_norm, no_dropout

LAYERS = (
    Conv("conv1", features=6, kernel=3, padding=(0, 1), std=0.1),
    ReLU("relu1"),
    LRN("norm1"),
    MaxPool("pool1", window=3, stride=2),
    Conv("conv2", features=8, kernel=3, padding=(1, 1), reads="all", std=0.1),
    ReLU("relu2"),
    Dense("fc6", units=16, reads="all", std=0.1),
    ReLU("relu6"),
    Dropout("drop6"),
    Classifier("fc8", classes=10, std=0.1),
)


def plateau(c):
    c.schedule.name = "plateau"


def large_batch(c):
    batch_norm(c)
    c.optimizer.name, c.optimizer.learning_rate = "lars", 1.0
    c.label_smoothing = 0.1


def get_config(variants=""):
    c = base()
    c.batch_size = 16
    c.num_steps = 40
    c.mesh = (1, 1)
    c.data.source = "sklearn:digits"
    c.data.image_size, c.data.crop_size = 8, 7
    c.data.flip = False
    c.data.validation = 0.1
    c.data.pixel_std = 64.0
    c.net.layers = LAYERS
    c.optimizer.learning_rate = 0.02
    c.schedule.name = "steps"
    c.schedule.boundaries = (0.3,)
    c.log_every, c.eval_every, c.checkpoint_every = 10, 20, 10
    named = {"plateau": plateau, "no_dropout": no_dropout, "large_batch": large_batch}
    return with_variants(c, variants, named)
