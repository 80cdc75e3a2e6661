"""Configs: the keys that every recipe has, loading a recipe with its variants, and checking it.

A recipe is a file with ``get_config(variants: str = "")`` that begins from `base` and ends in
`with_variants`. Nothing here imports JAX.
"""

import importlib.util
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from alexnet_jax.errors import UserError, near
from alexnet_jax.net.shapes import layer_shapes

T = TypeVar("T")


def base() -> ConfigDict:
    """Every key with its default: the paper's, where the paper has one."""
    c = ConfigDict()
    c.seed = 0
    c.batch_size = 128  # over all devices and hosts
    c.num_epochs = 90.0
    c.num_steps = placeholder(int)  # overrides num_epochs when set
    c.mesh = (-1, -1)  # (data, tower); -1: what is there
    c.parallelism = "towers"
    c.dtype = "float32"  # what the net computes in; parameters are always float32

    c.data = data = ConfigDict()
    data.source = "tfds:imagenet2012"  # or tfds:NAME, folder:DIR, sklearn:digits
    data.cache_dir = placeholder(str)  # default: alexnet-jax under the user's cache directory
    data.encoding = "raw"  # or "jpeg": a sixth of the bytes, and more work for the host
    data.max_broken = 1e-3  # images that may be left out because they can't be read: a fraction of all
    data.validation = 0.0  # taken from training: below 1 a fraction, else so many examples
    data.test = 0.1  # of a set without splits, for testing; while it is 0.1, a folder's for validation, too
    data.image_size = 256
    data.crop_size = 224
    data.random_crops = True  # False: the centre of every training image, and not mirrored
    data.crop_scale = ()  # (0.08, 1.0): crops of a random area and shape, torchvision's RandomResizedCrop
    data.flip = True
    data.color_noise = 0.1  # deviation of the alphas in section 4.1; 0: none
    data.color_noise_reading = (
        "deviation"  # alpha times the deviation (the code) or the "variance" (the paper)
    )
    data.color_noise_epochs = placeholder(float)  # no noise from this epoch on
    data.shrink_by_noise = False  # training images divided by (1 + color_noise), as in the code
    data.images_per_crop = 1  # so many images share a crop and a flip (the code: 32)
    data.reshuffle = True  # a new order in every epoch; the code shuffled once
    data.pixel_std = 1.0  # images are divided by it after the mean is subtracted; the paper does not

    c.net = ConfigDict()
    c.net.towers = 2
    c.net.layers = ()

    c.optimizer = optimizer = ConfigDict()
    optimizer.name = "momentum"  # one of training.optimizer.OPTIMIZERS
    optimizer.learning_rate = 0.01
    optimizer.bias_learning_rate = optimizer.get_oneway_ref("learning_rate")  # follows it unless it is set
    optimizer.momentum = 0.9
    optimizer.weight_decay = 5e-4
    optimizer.bias_weight_decay = optimizer.get_oneway_ref("weight_decay")
    optimizer.layers = ConfigDict()  # overrides for single layers; see training.optimizer

    c.schedule = schedule = ConfigDict()
    schedule.name = "plateau"  # or "steps", "constant"
    schedule.factor = 0.1  # a reduction multiplies the learning rates by it
    schedule.scale_biases = True  # whether a reduction applies to the biases
    schedule.boundaries = ()  # "steps": the epochs at which the learning rates are reduced
    schedule.max_reductions = 3  # "plateau": then the run ends instead
    schedule.patience = 3  # "plateau": evaluations without improvement before a reduction
    schedule.min_improvement = 1e-3  # "plateau": of the top-1 error, a fraction

    c.log_every = placeholder(int)  # in steps; overrides the epochs below when set
    c.log_every_epochs = 0.1
    c.eval_every = placeholder(int)
    c.eval_every_epochs = 1.0
    c.checkpoint_every = placeholder(int)
    c.checkpoint_every_epochs = 1.0
    c.keep_checkpoints = 3  # the last so many, beside the best
    c.init_from = placeholder(str)  # a workdir whose parameters a new run begins with
    return c


def get_config(path: str) -> ConfigDict:
    """The config of ``FILE.py`` or ``FILE.py:VARIANT[,VARIANT]``, checked.

    Raises:
      UserError: no such file, unknown or contradictory variants, a setting that makes no sense.
    """
    config = load(path)
    validate(config)
    return config


def load(path: str) -> ConfigDict:
    """As `get_config`, before anything is checked (settings may still be overridden)."""
    return call(path, "get_config", ConfigDict)


def call(path: str, function: str, kind: type[T]) -> T:
    """What a function of ``FILE.py[:VARIANT,...]`` makes of the variants.

    Raises:
      UserError: no such file or function, one that fails, or that makes something else.
    """
    name, _, variants = path.partition(":")
    file = Path(name)
    if not file.is_file():
        known = sorted(str(p) for p in Path("configs").glob("*.py"))
        raise UserError(f"no config file {name}" + (f"; there are {', '.join(known)}" if known else ""))
    spec = importlib.util.spec_from_file_location(f"alexnet_jax_recipe_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise UserError(f"{name} is no Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, function):
            verb = "; it is for alexnet-jax sweep" if hasattr(module, "sweep") else ""
            raise UserError(f"{name} has no {function}(){verb}")
        made = getattr(module, function)(variants)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{name} can't be read: {type(error).__name__}: {error}") from error
    if not isinstance(made, kind):
        raise UserError(f"{name}: {function}() must return a {kind.__name__}")
    return made


def with_variants(
    config: ConfigDict,
    variants: str,
    known: Mapping[str, Callable[[ConfigDict], None]],
    exclusive: Collection[frozenset[str]] = (),
) -> ConfigDict:
    """Applies the variants named in ``variants`` ("a,b"), in the order in which ``known`` lists them.

    Args:
      config: changed in place and returned.
      variants: names, in any order, with commas.
      known: what each variant does to the config.
      exclusive: sets of variants that contradict each other.

    Raises:
      UserError: an unknown variant, or two that contradict each other.
    """
    chosen = [name.strip() for name in variants.split(",") if name.strip()]
    for name in chosen:
        if name not in known:
            raise UserError(f"no variant {name}{near(name, known)}; there are {', '.join(known) or 'none'}")
    for group in exclusive:
        both = sorted(group & set(chosen), key=chosen.index)
        if len(both) > 1:
            raise UserError(f"the variants {' and '.join(both)} contradict each other: choose one")
    for name, change in known.items():
        if name in chosen:
            change(config)
    return config


_POSITIVE = "a positive number", lambda x: 0 < x < math.inf
_NOT_NEGATIVE = "a number that is not negative", lambda x: 0 <= x < math.inf
_FRACTION = "at least 0 and below 1", lambda x: 0 <= x < 1

_RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "seed": ("between 0 and 2**32 - 1", lambda x: 0 <= x < 2**32),
    "batch_size": _POSITIVE,
    "num_epochs": _POSITIVE,
    "num_steps": _POSITIVE,
    "data.validation": (
        "a fraction below 1 or a whole number",
        lambda x: 0 <= x < math.inf and (x < 1 or x == int(x)),
    ),
    "data.test": ("above 0 and below 1", lambda x: 0 < x < 1),
    "data.image_size": _POSITIVE,
    "data.crop_size": _POSITIVE,
    "data.max_broken": _FRACTION,
    "data.crop_scale": (
        "empty, or a smallest and a largest part of the image's area, such as (0.08, 1.0)",
        lambda x: (
            len(x) == 0
            or (len(x) == 2 and all(isinstance(a, int | float) for a in x) and 0 < x[0] <= x[1] <= 1)
        ),
    ),
    "data.color_noise": _NOT_NEGATIVE,
    "data.color_noise_epochs": _NOT_NEGATIVE,
    "data.images_per_crop": _POSITIVE,
    "data.pixel_std": _POSITIVE,
    "net.towers": _POSITIVE,
    "optimizer.learning_rate": _NOT_NEGATIVE,
    "optimizer.bias_learning_rate": _NOT_NEGATIVE,
    "optimizer.momentum": _FRACTION,
    "optimizer.weight_decay": _NOT_NEGATIVE,
    "optimizer.bias_weight_decay": _NOT_NEGATIVE,
    "schedule.factor": _FRACTION,
    "schedule.max_reductions": _NOT_NEGATIVE,
    "schedule.patience": _POSITIVE,
    "schedule.min_improvement": _FRACTION,
    "log_every": _POSITIVE,
    "log_every_epochs": _POSITIVE,
    "eval_every": _POSITIVE,
    "eval_every_epochs": _POSITIVE,
    "checkpoint_every": _POSITIVE,
    "checkpoint_every_epochs": _POSITIVE,
    "keep_checkpoints": _POSITIVE,
}
_CHOICES = {
    "parallelism": ("towers", "one_weird_trick"),
    "dtype": ("float32", "bfloat16"),
    "data.encoding": ("raw", "jpeg"),
    "data.color_noise_reading": ("deviation", "variance"),
    "optimizer.name": ("momentum",),
    "schedule.name": ("plateau", "steps", "constant"),
}
LAYER_RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "learning_rate": _NOT_NEGATIVE,
    "bias_learning_rate": _NOT_NEGATIVE,
    "weight_decay": _NOT_NEGATIVE,
    "bias_weight_decay": _NOT_NEGATIVE,
    "boundaries": ("a list of epochs", lambda cuts: _is_rising(cuts)),
    "frozen_epochs": _NOT_NEGATIVE,
}


def validate(config: ConfigDict) -> None:
    """Checks every setting, and those that belong together.

    Raises:
      UserError: the first setting that makes no sense, and what would.
    """
    settings = dict(flat(config))
    for key in sorted(set(dict(flat(base()))) - set(settings)):
        raise UserError(f"config.{key} is missing: begin the recipe with alexnet_jax.config.base()")
    for key, (meaning, holds) in _RULES.items():
        if settings[key] is not None and not holds(settings[key]):
            raise UserError(f"config.{key} is {settings[key]}, but must be {meaning}")
    for key, choices in _CHOICES.items():
        if settings[key] not in choices:
            raise UserError(f"config.{key} is {settings[key]!r}, but must be {' or '.join(choices)}")
    data = config.data
    if data.crop_size > data.image_size:
        raise UserError(
            f"config.data.crop_size is {data.crop_size}: larger than image_size, {data.image_size}"
        )
    if data.crop_scale and not data.random_crops:
        raise UserError("config.data.crop_scale and config.data.random_crops=False contradict each other")
    mesh = config.mesh
    if len(mesh) != 2 or not all(isinstance(n, int) and (n > 0 or n == -1) for n in mesh):
        raise UserError(f"config.mesh is {mesh}, but must be (data, tower), each positive or -1")
    if not _is_rising(config.schedule.boundaries):
        raise UserError(
            f"config.schedule.boundaries is {config.schedule.boundaries}, but must be rising epochs"
        )
    shapes = layer_shapes(config.net.layers, config.net.towers, (data.crop_size, data.crop_size, 3))
    with_params = [t.layer.name for t in shapes if t.params]
    for name, overrides in config.optimizer.layers.items():
        if name not in with_params:
            raise UserError(f"config.optimizer.layers.{name}: the net's layers are {', '.join(with_params)}")
        for key, value in overrides.items():
            if key not in LAYER_RULES:
                raise UserError(f"config.optimizer.layers.{name}.{key}: there are {', '.join(LAYER_RULES)}")
            meaning, holds = LAYER_RULES[key]
            if not (isinstance(value, int | float) or key == "boundaries") or not holds(value):
                raise UserError(f"config.optimizer.layers.{name}.{key} is {value}, but must be {meaning}")


def _is_rising(epochs: Any) -> bool:
    numbers = isinstance(epochs, tuple | list) and all(isinstance(x, int | float) for x in epochs)
    return numbers and all(a < b for a, b in zip((0, *epochs), (*epochs, math.inf), strict=True))


def flat(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """``("data.crop_size", 224)`` and so on, for every setting."""
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
