"""The paper's net on a folder of images of your own, with as many classes as the folder has.

    alexnet-jax train --config=folder --config.data.source=folder:DIR --workdir=runs/mine
    alexnet-jax predict --workdir=runs/mine PHOTOGRAPH.jpg

DIR has a folder for each class in DIR/train, DIR/val and DIR/test, of which the last two may be missing
(a tenth of train/ is then for validation); or a folder for each class itself, split 80/10/10. Rates are cut
at epochs 60 and 80, not by the plateau of a validation error.

All variants of configs/alexnet.py are there. On a small set take ``small_bias,std03``: with the paper's
initial values the loss can sit at ln(classes) for longer than one has patience.

On ten classes of ImageNet, 1,200 photographs to train on: 42.7 % validation error with one view, 41.7 % with
ten, after 260 steps in 45 minutes on 2 cores, with ``small_bias,std03`` (2026-11-23, see docs/results.md).
"""

from pathlib import Path

from ml_collections import ConfigDict

from alexnet_jax.config import load
from alexnet_jax.layers import replaced


def get_config(variants: str = "") -> ConfigDict:
    c = load(f"{Path(__file__).with_name('alexnet.py')}:{variants}")
    c.data.source = "folder:DIR"
    c.net.layers = replaced(c.net.layers, "fc8", classes=0)
    if c.schedule.name == "plateau":  # of the error on a few hundred images that is noise
        c.schedule.name, c.schedule.boundaries = "steps", (60.0, 80.0)
    c.log_every_epochs = 1.0
    return c
