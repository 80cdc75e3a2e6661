"""The paper's network on your own images, with as many classes as these have.

    alexnet-jax train --config=folder --config.data.source=folder:DIR --workdir=runs/mine
    alexnet-jax predict --workdir=runs/mine PHOTOGRAPH.jpg

DIR/train, DIR/val and DIR/test each have a folder for each class. Without DIR/val and DIR/test, a tenth of
DIR/train is for validation. Or DIR itself has a folder for each class; then it is split 80/10/10.

The images may also come from parquet:PATH, webdataset:PATTERN, csv:FILE or ilsvrc2012:DIR: see docs/data.md.

The learning rates are reduced at epochs 60 and 80, not when the validation error stops improving.

The variants are those of configs/alexnet.py. For a small data set take ``small_bias,std03``: with the
paper's initial values the loss can stay at ln(classes) for a long time.

Reached on 2026-11-23 with ``small_bias,std03``, on ten classes of ImageNet with 1,200 photographs for
training: 42.7 % validation error with one view and 41.7 % with ten, after 260 steps, in 45 minutes on 2
cores (docs/results.md).
"""

from pathlib import Path

from ml_collections import ConfigDict

from alexnet_jax.config import load
from alexnet_jax.layers import replaced


def get_config(variants: str = "") -> ConfigDict:
    c = load(f"{Path(__file__).with_name('alexnet.py')}:{variants}")
    c.data.source = "folder:DIR"
    c.net.layers = replaced(c.net.layers, "fc8", classes=0)
    if c.schedule.name == "plateau":  # the error on a few hundred images is too noisy
        c.schedule.name, c.schedule.boundaries = "steps", (60.0, 80.0)
    c.log_every_epochs = 1.0
    return c
