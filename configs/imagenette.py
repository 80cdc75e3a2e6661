"""The paper's network at full size on imagenette or imagewoof: ten classes of ImageNet.

    curl -O https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-320.tgz
    tar -xzf imagenette2-320.tgz
    alexnet-jax train --config=imagenette:bf16 --workdir=runs/imagenette
    alexnet-jax evaluate --workdir=runs/imagenette --views=10

imagenette has 9,469 + 3,925 photographs of ten classes that are easy to tell apart. imagewoof has 9,025 +
3,929 photographs of ten breeds of dogs. To train on it, add ``--config.data.source=folder:imagewoof2-320``.
Both are by fast.ai. The archives are linked at https://github.com/fastai/imagenette.

The network is that of configs/folder.py with ``small_bias,std03``, which so few photographs need. It is
trained for 90 epochs. The learning rate is reduced at epochs 60 and 80. The variants are those of
configs/alexnet.py, for example ``owt``. The variants ``owt``, ``caffe`` and ``lars`` keep their own initial
values. configs/ablations.py:imagenette trains the main variants.

Reached on 2026-11-26 with ``bf16``, on imagenette squashed to 224x224: 16.29 ± 0.71 % validation error with
ten views, 18.33 % with one. Five trainings at once took five minutes on one H200 (docs/results.md). imagewoof
has not been trained yet. On 2 CPU cores an epoch of imagenette is *expected* to take two minutes, at 75
images/s (docs/performance.md).
"""

from pathlib import Path

from ml_collections import ConfigDict

from alexnet_jax.config import load

INITIAL = ("small_bias", "std03")


def get_config(variants: str = "") -> ConfigDict:
    given = [name.strip() for name in variants.split(",") if name.strip()]
    ours = (
        []
        if {"owt", "caffe", "caffenet", "lars"} & {*given}
        else [name for name in INITIAL if name not in given]
    )
    c = load(f"{Path(__file__).with_name('folder.py')}:{','.join([*ours, *given])}")
    c.data.source = "folder:imagenette2-320"
    return c
