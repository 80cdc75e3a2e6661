"""The settings: one table with the default, the type, the check and the explanation of each.

The table is the only source of `base.base`, `validate.validate`, what may change when a run resumes
(`saved`), ``alexnet-jax train --help`` and ``docs/settings.md`` (`describe`). Nothing here imports JAX.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

from alexnet_jax.errors import near
from alexnet_jax.remote.paths import scheme


@dataclasses.dataclass(frozen=True)
class Follows:
    """A default that follows another setting of the same section until it is set."""

    key: str


@dataclasses.dataclass(frozen=True)
class Check:
    """A condition that a value must meet in addition to its type.

    Attributes:
      meaning: end of the sentence "config.KEY is VALUE, but must be ...".
      holds: function that returns whether a value of the right type meets the condition.
    """

    meaning: str
    holds: Callable[[Any], bool]


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
    check: Check | None = None
    choices: tuple[str, ...] = ()
    resume: Literal["no", "yes", "neutral"] = "no"


MOST_STEPS = 2**31 - 1
"""The largest number of a step, which JAX counts in 32 bits."""

_MOST_EPOCHS = 10**6


def is_rising(epochs: Any) -> bool:
    """Return whether these are positive numbers, each larger than the one before."""
    numbers = isinstance(epochs, tuple | list) and all(isinstance(x, int | float) for x in epochs)
    return numbers and all(a < b for a, b in zip((0, *epochs), (*epochs, _MOST_EPOCHS + 1), strict=True))


def _is_mesh(mesh: Any) -> bool:
    return len(mesh) == 2 and all(isinstance(n, int) and (n > 0 or n == -1) for n in mesh)


def _is_crop_scale(scale: Any) -> bool:
    numbers = all(isinstance(a, int | float) for a in scale)
    return len(scale) == 0 or (len(scale) == 2 and numbers and 0 < scale[0] <= scale[1] <= 1)


def step_range(text: str) -> tuple[int, int]:
    """Return the first and the last step of a range FIRST:LAST.

    Raises:
      ValueError: it is no such range, or it has more than 100 steps.
    """
    if (found := re.fullmatch(r"(\d{1,9}):(\d{1,9})", text, re.ASCII)) is None:
        raise ValueError(text)
    first, last = map(int, found.groups())
    if not 1 <= first <= last < first + _MOST_PROFILED:
        raise ValueError(text)
    return first, last


def _is_step_range(text: str) -> bool:
    try:
        return bool(step_range(text))
    except ValueError:
        return False


def _is_project(name: str) -> bool:
    return re.fullmatch(r"([^/\\#?%:\s]+/)?[^/\\#?%:]{1,128}", name) is not None


_MOST_PROFILED = 100  # steps; the profiler keeps them in memory


def _is_pair(names: Any) -> bool:
    return len(parts := names.split(",")) == 2 and all(part.strip() for part in parts)


_COUNT = Check("from 1 to 2**31 - 1", lambda x: 0 < x <= MOST_STEPS)
_SIDE = Check("from 1 to 4096", lambda x: 0 < x <= 4096)
_EPOCHS = Check("positive and at most 10**6", lambda x: 0 < x <= _MOST_EPOCHS)
_EPOCH = Check("from 0 to 10**6", lambda x: 0 <= x <= _MOST_EPOCHS)
_SCALE = Check("from 0 to 10**6", lambda x: 0 <= x <= 10**6)
_FRACTION = Check("at least 0 and below 1", lambda x: 0 <= x < 1)
_RISING = Check("positive epochs in rising order, at most 10**6", is_rising)

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "seed",
        0,
        int,
        "Seed of the initial values, the order of the data, crops, colour noise and dropout.",
        Check("between 0 and 2**32 - 1", lambda x: 0 <= x < 2**32),
    ),
    Setting("batch_size", 128, int, "Images in a step, over all devices and hosts.", _COUNT),
    Setting("num_epochs", 90.0, float, "Length of the run in epochs.", _EPOCHS, resume="yes"),
    Setting("num_steps", None, int, "Length of the run in steps; replaces num_epochs.", _COUNT, resume="yes"),
    Setting(
        "mesh",
        (-1, -1),
        tuple,
        "Devices along (data, tower); -1: chosen from the available devices.",
        Check("two numbers (data, tower), each positive or -1", _is_mesh),
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
        _COUNT,
        resume="neutral",
    ),
    Setting(
        "log_every_epochs",
        0.1,
        float,
        "Epochs between training records in the log.",
        _EPOCHS,
        resume="neutral",
    ),
    Setting(
        "eval_every",
        None,
        int,
        "Steps between evaluations; replaces eval_every_epochs.",
        _COUNT,
        resume="neutral",
    ),
    Setting("eval_every_epochs", 1.0, float, "Epochs between evaluations.", _EPOCHS, resume="neutral"),
    Setting(
        "checkpoint_every",
        None,
        int,
        "Steps between checkpoints; replaces checkpoint_every_epochs.",
        _COUNT,
        resume="neutral",
    ),
    Setting("checkpoint_every_epochs", 1.0, float, "Epochs between checkpoints.", _EPOCHS, resume="neutral"),
    Setting(
        "keep_checkpoints",
        3,
        int,
        "Number of latest checkpoints that are kept, in addition to the best one.",
        _COUNT,
        resume="neutral",
    ),
    Setting(
        "step_timeout_minutes",
        30.0,
        float,
        "Minutes that a step, a batch or a write may take before the run ends with status 75; 0: any.",
        _SCALE,
        resume="neutral",
    ),
    Setting("init_from", None, str, "Workdir whose parameters a new run starts from (fine-tuning)."),
    Setting(
        "log_images",
        12,
        int,
        "Hardest mistakes of an evaluation, drawn for TensorBoard beside the first kernels; 0: no pictures.",
        Check("from 0 to 100", lambda x: 0 <= x <= 100),
        resume="neutral",
    ),
    Setting(
        "profile",
        None,
        str,
        "Steps of which JAX's profiler writes a trace into the workdir, such as 100:110.",
        Check("FIRST:LAST, steps from 1 on and at most 100 of them", _is_step_range),
        resume="neutral",
    ),
    Setting(
        "wandb",
        None,
        str,
        "Project on Weights & Biases that receives the log too (needs the extra wandb).",
        Check("PROJECT or ENTITY/PROJECT", _is_project),
        resume="neutral",
    ),
    Setting(
        "data.source",
        "tfds:imagenet2012",
        str,
        "Data set: tfds:NAME, folder:DIR, ilsvrc2012:DIR, parquet:PATH, webdataset:PATTERN or csv:FILE.",
        Check(
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
        Check("two names, such as image,fine_label", _is_pair),
        resume="neutral",  # the data's fingerprint shows whether the images and the labels are the same
    ),
    Setting(
        "data.cache_dir",
        None,
        str,
        "Folder for caches; by default alexnet-jax in the user's cache folder.",
        Check("a folder on a local disk", lambda x: scheme(x) is None),
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
        _FRACTION,
        resume="neutral",
    ),
    Setting(
        "data.validation",
        None,
        float,
        "Part of train for validation: a fraction below 1, or a number of images; a folder's default is 0.1.",
        Check("a fraction below 1 or a whole number", lambda x: 0 <= x < math.inf and (x < 1 or x == int(x))),
    ),
    Setting(
        "data.test",
        0.1,
        float,
        "Fraction of the images for testing, if the data set has no splits.",
        Check("above 0 and below 1", lambda x: 0 < x < 1),
    ),
    Setting("data.image_size", 256, int, "Side of the square images in the cache, in pixels.", _SIDE),
    Setting("data.crop_size", 224, int, "Side of the crops that the network sees, in pixels.", _SIDE),
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
        Check(
            "empty, or the smallest and the largest fraction of the image's area, such as (0.08, 1.0)",
            _is_crop_scale,
        ),
    ),
    Setting("data.flip", True, bool, "Mirror half of the training images."),
    Setting(
        "data.color_noise",
        0.1,
        float,
        "Standard deviation of the alphas in section 4.1; 0: no colour noise.",
        _SCALE,
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
        _EPOCH,
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
        _COUNT,
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
        Check("from 1e-6 to 10**6", lambda x: 1e-6 <= x <= 10**6),
    ),
    Setting("net.towers", 2, int, "Number of towers.", _COUNT),
    Setting("net.layers", (), tuple, "Layers of the network; only a recipe or a variant sets them."),
    Setting(
        "optimizer.name",
        "momentum",
        str,
        "Optimizer, one of training.optimizer.OPTIMIZERS.",
        choices=("momentum",),
    ),
    Setting(
        "optimizer.learning_rate",
        0.01,
        float,
        "Initial learning rate of the kernels.",
        _SCALE,
        resume="yes",
    ),
    Setting(
        "optimizer.bias_learning_rate",
        Follows("optimizer.learning_rate"),
        float,
        "Initial learning rate of the biases.",
        _SCALE,
        resume="yes",
    ),
    Setting(
        "optimizer.momentum",
        0.9,
        float,
        "Fraction of the last update that is added to the next one.",
        _FRACTION,
        resume="yes",
    ),
    Setting("optimizer.weight_decay", 5e-4, float, "Weight decay of the kernels.", _SCALE, resume="yes"),
    Setting(
        "optimizer.bias_weight_decay",
        Follows("optimizer.weight_decay"),
        float,
        "Weight decay of the biases.",
        _SCALE,
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
        "When learning rates are reduced: plateau (validation error stops improving), steps, constant.",
        choices=("plateau", "steps", "constant"),
        resume="yes",
    ),
    Setting(
        "schedule.factor",
        0.1,
        float,
        "Factor by which a reduction multiplies the learning rates.",
        _FRACTION,
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
        _RISING,
        resume="yes",
    ),
    Setting(
        "schedule.max_reductions",
        3,
        int,
        "plateau: number of reductions, after which the next plateau ends the run.",
        Check("from 0 to 1000", lambda x: 0 <= x <= 1000),
        resume="yes",
    ),
    Setting(
        "schedule.patience",
        3,
        int,
        "plateau: evaluations without improvement before a reduction.",
        _COUNT,
        resume="yes",
    ),
    Setting(
        "schedule.min_improvement",
        1e-3,
        float,
        "plateau: smallest decrease of the top-1 error that counts, as a fraction of all images.",
        _FRACTION,
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
            _SCALE,
            resume="yes",
        ),
        Setting(
            "bias_learning_rate",
            None,
            float,
            "Initial learning rate of the layer's bias.",
            _SCALE,
            resume="yes",
        ),
        Setting("weight_decay", None, float, "Weight decay of the layer's kernel.", _SCALE, resume="yes"),
        Setting(
            "bias_weight_decay",
            None,
            float,
            "Weight decay of the layer's bias.",
            _SCALE,
            resume="yes",
        ),
        Setting(
            "boundaries",
            None,
            tuple,
            "Epochs at which the layer's learning rates are reduced; replaces schedule.boundaries.",
            _RISING,
            resume="yes",
        ),
        Setting(
            "frozen_epochs",
            None,
            float,
            "Epoch from which the layer's learning rates are 0.",
            _EPOCH,
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

RENAMED: Mapping[str, str] = {
    "learning.rate": "optimizer.learning_rate",
    "learning.bias_rate": "optimizer.bias_learning_rate",
    "learning.momentum": "optimizer.momentum",
    "learning.weight_decay": "optimizer.weight_decay",
    "learning.bias_decay": "optimizer.bias_weight_decay",
    "learning.layers": "optimizer.layers",
    "learning.schedule": "schedule.name",
    "learning.factor": "schedule.factor",
    "learning.cuts_biases": "schedule.scale_biases",
    "learning.cuts": "schedule.boundaries",
    "learning.max_cuts": "schedule.max_reductions",
    "learning.patience": "schedule.patience",
    "learning.min_improvement": "schedule.min_improvement",
}
RENAMED_OF_A_LAYER: Mapping[str, str] = {
    "rate": "learning_rate",
    "bias_rate": "bias_learning_rate",
    "bias_decay": "bias_weight_decay",
    "cuts": "boundaries",
}
RENAMED_VALUES: Mapping[str, Mapping[Any, str]] = {
    "data.color_noise_reading": {"deviation": "standard_deviation"},
}


def new_name(key: str) -> str | None:
    """Return the new name of a setting of an earlier version; None if there was no such setting."""
    if key == "learning":
        return "optimizer.* or schedule.*"
    section, layers, rest = key.partition(".layers.")
    if layers and section in ("learning", "optimizer"):
        layer, _, last = rest.partition(".")
        now = f"optimizer.layers.{layer}" + (f".{RENAMED_OF_A_LAYER.get(last, last)}" if last else "")
        return now if now != key else None
    return RENAMED.get(key)


def unknown(key: str) -> str:
    """Return the message about a setting that does not exist, with its new name or similar names."""
    if key.startswith("optimizer.layers"):
        example = "optimizer.layers.fc8.learning_rate"
        return f"config.{key} is not a setting: name a layer and its setting, such as {example}"
    now = new_name(key)
    elsewhere = [known for known in BY_KEY if known.rpartition(".")[2] == key.rpartition(".")[2]]
    if now is not None:
        hint = f": it is called {now} now"
    elif elsewhere:
        hint = f" (did you mean {' or '.join(elsewhere)}?)"
    else:
        hint = near(key, BY_KEY)
    return f"config.{key} does not exist{hint}"


def resume_of(key: str) -> Literal["no", "yes", "neutral"]:
    """Return `Setting.resume`, for a layer's settings too; ``net.layers.NAME.FIELD`` is ``no``."""
    if key.startswith("optimizer.layers."):
        key = "optimizer.layers"
    return BY_KEY[key].resume if key in BY_KEY else "no"


NEUTRAL = frozenset(setting.key for setting in SETTINGS if setting.resume == "neutral")
"""The settings on which no result depends, such as locations, intervals and devices."""
