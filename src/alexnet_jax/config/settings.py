"""The settings: one table with the default, the type, the check and the explanation of each.

The table is the only source of `base.base`, `validate.validate`, what may change when a run resumes
(`saved`), ``alexnet-jax train --help`` and ``docs/settings.md`` (`describe`). Nothing here imports JAX.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

from alexnet_jax.config.checks import (
    COUNT,
    CROP_SCALE,
    EPOCH,
    EPOCHS,
    FRACTION,
    MESH,
    PAIR,
    PROJECT,
    RISING,
    SCALE,
    SIDE,
    STEP_RANGE,
)
from alexnet_jax.remote.paths import scheme
from alexnet_jax.schema import Rule


@dataclasses.dataclass(frozen=True)
class Follows:
    """A default that follows another setting of the same section until it is set."""

    key: str


@dataclasses.dataclass(frozen=True)
class Setting:
    """A setting.

    Attributes:
      key: name with its section, such as ``data.crop_size``.
      default: value if the recipe does not set it; None if the setting is off unless it is set.
      type: type of its values.
      doc: explanation in one line, with the unit.
      check: condition on the value; None if the type is enough.
      choices: possible values, if they can be listed.
      resume: whether it may change when a run resumes. ``no``: the change would make it another run.
        ``yes``: it may. ``neutral``: it may, and no result depends on it.
    """

    key: str
    default: Any
    type: type
    doc: str
    check: Rule | None = None
    choices: tuple[str, ...] = ()
    resume: Literal["no", "yes", "neutral"] = "no"


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "seed",
        0,
        int,
        "Seed of the initial values, the order of the data, crops, colour noise and dropout.",
        Rule("between 0 and 2**32 - 1", lambda x: 0 <= x < 2**32),
    ),
    Setting("batch_size", 128, int, "Images in a step, over all devices and hosts.", COUNT),
    Setting(
        "accumulation_steps",
        1,
        int,
        "Number of parts of a device's images. Gradients are computed for one part at a time to save memory.",
        COUNT,
        resume="neutral",
    ),
    Setting(
        "label_smoothing",
        0.0,
        float,
        "Label smoothing: fraction of the target that is spread evenly over all classes.",
        FRACTION,
    ),
    Setting("num_epochs", 90.0, float, "Length of the run in epochs.", EPOCHS, resume="yes"),
    Setting("num_steps", None, int, "Length of the run in steps; replaces num_epochs.", COUNT, resume="yes"),
    Setting(
        "mesh",
        (-1, -1),
        tuple,
        "Devices along (data, tower); -1: chosen from the available devices.",
        MESH,
        resume="neutral",
    ),
    Setting(
        "parallelism",
        "towers",
        str,
        "How dense layers are split: towers (over the tower axis) or one_weird_trick (over all devices).",
        choices=("towers", "one_weird_trick"),
        resume="neutral",
    ),
    Setting(
        "dtype",
        "float32",
        str,
        "Type that the network computes in; parameters are always float32.",
        choices=("float32", "bfloat16"),
    ),
    Setting(
        "log_every",
        None,
        int,
        "Steps between training records in the log; replaces log_every_epochs.",
        COUNT,
        resume="neutral",
    ),
    Setting(
        "log_every_epochs",
        0.1,
        float,
        "Epochs between training records in the log.",
        EPOCHS,
        resume="neutral",
    ),
    Setting(
        "eval_every",
        None,
        int,
        "Steps between evaluations; replaces eval_every_epochs.",
        COUNT,
        resume="neutral",
    ),
    Setting("eval_every_epochs", 1.0, float, "Epochs between evaluations.", EPOCHS, resume="neutral"),
    Setting(
        "checkpoint_every",
        None,
        int,
        "Steps between checkpoints; replaces checkpoint_every_epochs.",
        COUNT,
        resume="neutral",
    ),
    Setting("checkpoint_every_epochs", 1.0, float, "Epochs between checkpoints.", EPOCHS, resume="neutral"),
    Setting(
        "keep_checkpoints",
        3,
        int,
        "Number of latest checkpoints that are kept, in addition to the best one.",
        COUNT,
        resume="neutral",
    ),
    Setting(
        "step_timeout_minutes",
        30.0,
        float,
        "Minutes that a step, a batch or a write may take before the run ends with status 75; 0: no limit.",
        SCALE,
        resume="neutral",
    ),
    Setting("init_from", None, str, "Workdir whose parameters a new run starts from (fine-tuning)."),
    Setting(
        "log_images",
        12,
        int,
        "Hardest mistakes of an evaluation, drawn for TensorBoard beside the first kernels; 0: no pictures.",
        Rule("from 0 to 100", lambda x: 0 <= x <= 100),
        resume="neutral",
    ),
    Setting(
        "profile",
        None,
        str,
        "Steps of which JAX's profiler writes a trace into the workdir, such as 100:110.",
        STEP_RANGE,
        resume="neutral",
    ),
    Setting(
        "wandb",
        None,
        str,
        "Project on Weights & Biases that receives the log too (needs the extra wandb).",
        PROJECT,
        resume="neutral",
    ),
    Setting(
        "data.source",
        "tfds:imagenet2012",
        str,
        "Data: tfds:NAME, sklearn:digits, folder:DIR, ilsvrc2012:DIR, parquet:PATH, webdataset:GLOB, csv:X.",
        Rule(
            "on a local disk",
            lambda x: scheme(x.partition(":")[2]) is None,
        ),
        resume="yes",  # it may have moved: the data's fingerprint shows whether it is the same
    ),
    Setting(
        "data.columns",
        None,
        str,
        "parquet, webdataset, csv: names of the image and the label, IMAGE,LABEL, if several fit.",
        PAIR,
        resume="yes",  # the data's fingerprint shows whether the images and the labels are the same
    ),
    Setting(
        "data.cache_dir",
        None,
        str,
        "Folder for caches; by default alexnet-jax in the user's cache folder.",
        Rule("a folder on a local disk", lambda x: scheme(x) is None),
        resume="neutral",
    ),
    Setting(
        "data.cache_from",
        None,
        str,
        "Bucket or shared folder of prepare --publish; a host without a cache copies it from there.",
        resume="neutral",
    ),
    Setting(
        "data.encoding",
        "raw",
        str,
        "How the cache stores images: raw, or jpeg (a sixth of the bytes, more work for the host).",
        choices=("raw", "jpeg"),
    ),
    Setting(
        "data.max_broken",
        1e-3,
        float,
        "Largest fraction of all images that may be left out because they can't be read.",
        FRACTION,
        resume="neutral",
    ),
    Setting(
        "data.validation",
        None,
        float,
        "Part of train for validation: a fraction below 1, or a number of images; a folder's default is 0.1.",
        Rule("a fraction below 1 or a whole number", lambda x: 0 <= x < math.inf and (x < 1 or x == int(x))),
    ),
    Setting(
        "data.test",
        0.1,
        float,
        "Fraction of the images for testing, if the data set has no splits.",
        Rule("above 0 and below 1", lambda x: 0 < x < 1),
    ),
    Setting("data.image_size", 256, int, "Side of the square images in the cache, in pixels.", SIDE),
    Setting(
        "data.resize",
        "crop",
        str,
        "How images become squares: crop (centre, area means), squash (all), torchvision (centre, bilinear).",
        choices=("crop", "squash", "torchvision"),
    ),
    Setting("data.crop_size", 224, int, "Side of the crops that the network sees, in pixels.", SIDE),
    Setting(
        "data.random_crops",
        True,
        bool,
        "Random crops and flips in training; false: the centre of each image, without flips.",
    ),
    Setting(
        "data.crop_scale",
        (),
        tuple,
        "Smallest and largest area of a random crop, as fractions of the image; (): crops of crop_size.",
        CROP_SCALE,
    ),
    Setting("data.flip", True, bool, "Mirror half of the training images."),
    Setting(
        "data.color_noise",
        0.1,
        float,
        "Standard deviation of the alphas in section 4.1; 0: no colour noise.",
        SCALE,
    ),
    Setting(
        "data.color_noise_reading",
        "standard_deviation",
        str,
        "What an alpha multiplies: standard_deviation (the authors' code) or variance (the paper's text).",
        choices=("standard_deviation", "variance"),
    ),
    Setting(
        "data.color_noise_epochs",
        None,
        float,
        "Epoch at which colour noise ends; by default it never ends.",
        EPOCH,
    ),
    Setting(
        "data.shrink_by_noise",
        False,
        bool,
        "Divide training images by 1 + color_noise, as the authors' code does.",
    ),
    Setting(
        "data.images_per_crop",
        1,
        int,
        "Images that share a crop position and a flip (32 in the authors' code).",
        COUNT,
    ),
    Setting(
        "data.reshuffle",
        True,
        bool,
        "Shuffle before every epoch; false: only before the first, as the authors' code does.",
    ),
    Setting(
        "data.pixel_std",
        1.0,
        float,
        "Divisor of the pixels after the mean is subtracted, in grey levels; 1 in the paper.",
        Rule("from 1e-6 to 10**6", lambda x: 1e-6 <= x <= 10**6),
    ),
    Setting("net.towers", 2, int, "Number of towers.", COUNT),
    Setting(
        "net.layers",
        (),
        tuple,
        "Layers of the network, from the recipe; net.layers.LAYER.FIELD sets a field of one of them.",
    ),
    Setting(
        "optimizer.name",
        "momentum",
        str,
        "Optimizer, one of training.optimizer.OPTIMIZERS.",
        choices=("momentum", "lars", "adamw"),
    ),
    Setting(
        "optimizer.learning_rate",
        0.01,
        float,
        "Initial learning rate of the kernels.",
        SCALE,
        resume="yes",
    ),
    Setting(
        "optimizer.bias_learning_rate",
        Follows("optimizer.learning_rate"),
        float,
        "Initial learning rate of the biases.",
        SCALE,
        resume="yes",
    ),
    Setting(
        "optimizer.momentum",
        0.9,
        float,
        "Fraction of the last update that is added to the next one (adamw: the first beta).",
        FRACTION,
        resume="yes",
    ),
    Setting(
        "optimizer.trust",
        0.001,
        float,
        "lars: the trust coefficient, which multiplies norm(kernel) / norm(gradient).",
        SCALE,
        resume="yes",
    ),
    Setting(
        "optimizer.reference_batch_size",
        None,
        int,
        "Batch size of the learning rates, which are multiplied by batch_size / reference_batch_size.",
        COUNT,
        resume="yes",
    ),
    Setting("optimizer.weight_decay", 5e-4, float, "Weight decay of the kernels.", SCALE, resume="yes"),
    Setting(
        "optimizer.bias_weight_decay",
        Follows("optimizer.weight_decay"),
        float,
        "Weight decay of the biases.",
        SCALE,
        resume="yes",
    ),
    Setting(
        "optimizer.layers",
        {},
        dict,
        "Settings of single layers, by the layer's name: optimizer.layers.LAYER.SETTING.",
        resume="yes",
    ),
    Setting(
        "schedule.name",
        "plateau",
        str,
        "When learning rates fall: plateau (validation error stops improving), steps, cosine, constant.",
        choices=("plateau", "steps", "cosine", "constant"),
        resume="yes",
    ),
    Setting(
        "schedule.warmup_epochs",
        0.0,
        float,
        "Epochs at the start in which the learning rates rise from 0.",
        EPOCH,
        resume="yes",
    ),
    Setting(
        "schedule.factor",
        0.1,
        float,
        "Factor by which a reduction multiplies the learning rates.",
        FRACTION,
        resume="yes",
    ),
    Setting(
        "schedule.scale_biases",
        True,
        bool,
        "Reduce the learning rates of the biases as well.",
        resume="yes",
    ),
    Setting(
        "schedule.boundaries",
        (),
        tuple,
        "steps: epochs at which the learning rates are reduced.",
        RISING,
        resume="yes",
    ),
    Setting(
        "schedule.max_reductions",
        3,
        int,
        "plateau: number of reductions, after which the next plateau ends the run.",
        Rule("from 0 to 1000", lambda x: 0 <= x <= 1000),
        resume="yes",
    ),
    Setting(
        "schedule.patience",
        3,
        int,
        "plateau: evaluations without improvement before a reduction.",
        COUNT,
        resume="yes",
    ),
    Setting(
        "schedule.min_improvement",
        1e-3,
        float,
        "plateau: smallest decrease of the top-1 error that counts, as a fraction of all images.",
        FRACTION,
        resume="yes",
    ),
)

BY_KEY: Mapping[str, Setting] = {setting.key: setting for setting in SETTINGS}

OF_A_LAYER: Mapping[str, Setting] = {
    setting.key: setting
    for setting in (
        Setting(
            "learning_rate",
            None,
            float,
            "Initial learning rate of the layer's kernel.",
            SCALE,
            resume="yes",
        ),
        Setting(
            "bias_learning_rate",
            None,
            float,
            "Initial learning rate of the layer's bias.",
            SCALE,
            resume="yes",
        ),
        Setting("weight_decay", None, float, "Weight decay of the layer's kernel.", SCALE, resume="yes"),
        Setting(
            "bias_weight_decay",
            None,
            float,
            "Weight decay of the layer's bias.",
            SCALE,
            resume="yes",
        ),
        Setting(
            "boundaries",
            None,
            tuple,
            "Epochs at which the layer's learning rates are reduced; replaces schedule.boundaries.",
            RISING,
            resume="yes",
        ),
        Setting(
            "frozen_epochs",
            None,
            float,
            "Epoch from which the layer's learning rates are 0.",
            EPOCH,
            resume="yes",
        ),
    )
}
"""The settings in ``optimizer.layers.LAYER``, by name."""

KINDS: Mapping[type, str] = {
    bool: "true or false",
    float: "a number",
    int: "a whole number",
    str: "text",
    tuple: "numbers in parentheses, such as (1, 2)",
    dict: "a table",
}
"""What a value of each type is called in messages."""


def resume_of(key: str) -> Literal["no", "yes", "neutral"]:
    """Return `Setting.resume`, for a layer's settings too; ``net.layers.NAME.FIELD`` is ``no``."""
    if key.startswith("optimizer.layers."):
        key = "optimizer.layers"
    return BY_KEY[key].resume if key in BY_KEY else "no"


ADDED = frozenset(
    [
        "data.columns",
        "data.resize",
        "label_smoothing",
        "optimizer.reference_batch_size",
        "optimizer.trust",
        "schedule.warmup_epochs",
    ]
)
"""The settings that a workdir of an earlier version may lack. Their defaults are what that version did."""

NEUTRAL = frozenset(setting.key for setting in SETTINGS if setting.resume == "neutral")
"""The settings on which no result depends, such as locations, intervals and devices.

Only the plateau schedule depends on the interval of evaluations: see `sweep.tasks.changes`.
"""
